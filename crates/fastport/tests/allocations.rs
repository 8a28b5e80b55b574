//! In steady state a worker allocates nothing for a packet. A binary of its own, because it counts for the whole process.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Client, PATIENCE, frame, localhost, pattern};
use fastport::{Context, Handler, PacketId, PacketView, Service};
use fastport_io::{Backend, Choice};

/// Counts what threads allocate that were marked.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const; the lint does not see it on Windows")]
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    // A thread that ends has no marks any more.
    if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Begins to count on the worker's thread.
const COUNT: PacketId = PacketId(1);
/// Makes the handler allocate once: so the test sees that it can see.
const ALLOCATE: PacketId = PacketId(3);

struct Echo {
    in_place: bool,
}

impl Handler for Echo {
    fn packet(&mut self, session: &mut Context<'_>, packet: PacketView<'_>) {
        if packet.id == COUNT {
            IS_COUNTED.set(true);
        }
        if packet.id == ALLOCATE {
            drop(std::hint::black_box(Box::new(0_u8)));
        }
        let sent = if self.in_place { session.forward(packet) } else { session.send(packet.id, packet.payload) };
        sent.unwrap();
    }
}

/// Packets of several sizes, some in one write, some in pieces.
fn exchange(clients: &mut [Client], rounds: usize) {
    let whole: Vec<u8> = [10, 64, 3000, 0, 16_000].into_iter().flat_map(|size| frame(2, &pattern(size))).collect();
    let mut answer = vec![0; whole.len()];
    for round in 0..rounds {
        for client in clients.iter_mut() {
            if round % 4 == 0 {
                for piece in whole.chunks(700) {
                    client.send_bytes(piece);
                }
            } else {
                client.send_bytes(&whole);
            }
        }
        for client in clients.iter_mut() {
            std::io::Read::read_exact(&mut client.stream, &mut answer).unwrap();
            assert!(answer == whole);
        }
    }
}

/// A worker that was not scheduled for a while finds more at once than ever before, and its queues grow. That is seldom;
/// an allocation for each packet, session or batch would be thousands.
const NEW_PEAKS: u64 = 100;

fn check(backend: Backend, in_place: bool) {
    if let Err(error) = fastport_io::is_supported(backend) {
        return eprintln!("{backend} does not run here: {error}");
    }
    let service = Service::builder(move |_| Echo { in_place })
        .backend(Choice::Only(backend))
        .workers(1)
        .idle_limit(Duration::from_secs(60))
        .listen(localhost())
        .start()
        .unwrap();
    let mut clients: Vec<Client> = (0..32).map(|_| Client::connect(service.local_addresses()[0])).collect();
    exchange(&mut clients, 50);
    clients[0].ask(COUNT.0, &[]);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    exchange(&mut clients, 200);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let packets = service.stats().packets_received;
    assert!(allocations < NEW_PEAKS, "{backend}, in place {in_place}: {allocations} allocations in {packets} packets");
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    clients[0].ask(ALLOCATE.0, &[]);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before + 1, "the one that was asked for is seen");
    drop(clients);
    service.stop(PATIENCE);
}

#[test]
fn the_echo_path_allocates_nothing_in_steady_state() {
    for &backend in fastport_io::COMPILED {
        check(backend, false);
        check(backend, true);
    }
}
