//! What Windows keeps: queues, requests, registrations and credit, all under one lock.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Networking::WinSock::{
    RIO_BUF, RIO_IOCP_COMPLETION, RIO_MAX_CQ_SIZE, RIO_MSG_COMMIT_ONLY, RIO_MSG_DEFER, RIO_MSG_DONT_NOTIFY,
    RIO_NOTIFICATION_COMPLETION, RIORESULT, SOCKET, WSAEFAULT, WSAEINVAL, WSAENOBUFS, WSAENOTSOCK, WSAEOPNOTSUPP,
    WSAETOOMANYREFS,
};

use crate::completion_queue::{CompletionQueue, Entry, Notification};
use crate::emulator::{Census, current_judge};
use crate::engine;
use crate::guard::Guarded;
use crate::request_queue::{Direction, Finished, Lane, Request, RequestQueue};
use crate::rules::{Judge, Rule};

/// A registration of memory.
struct Buffer {
    judge: Arc<Judge>,
    start: *mut u8,
    bytes: u32,
    /// Requests whose completion was not dequeued.
    users: u32,
}

// SAFETY: the pointer is handed to requests, which belong to the caller; it is nobody's by thread.
unsafe impl Send for Buffer {}

/// What is known of an open socket.
#[derive(Default)]
struct SocketFacts {
    /// Created with `WSA_FLAG_REGISTERED_IO`.
    registered: bool,
    request_queue: Option<isize>,
}

#[derive(Default)]
pub(crate) struct Kernel {
    last_handle: isize,
    completion_queues: HashMap<isize, CompletionQueue>,
    request_queues: HashMap<isize, RequestQueue>,
    /// Those with outstanding requests, oldest first.
    busy: BTreeSet<isize>,
    buffers: HashMap<isize, Buffer>,
    sockets: HashMap<SOCKET, SocketFacts>,
}

pub(crate) fn lock() -> MutexGuard<'static, Kernel> {
    static KERNEL: LazyLock<Mutex<Kernel>> = LazyLock::new(Mutex::default);
    KERNEL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kernel {
    /// Handles are never used again, so a dead one is known for what it is.
    fn new_handle(&mut self) -> isize {
        self.last_handle += 16;
        self.last_handle
    }

    // Memory

    pub(crate) fn register_buffer(&mut self, start: *mut u8, bytes: u32) -> Result<isize, i32> {
        let judge = current_judge();
        if bytes == 0 {
            judge.report(Rule::Registration, "a registration of no bytes");
            return Err(WSAEINVAL);
        }
        if start.is_null() {
            judge.report(Rule::Registration, "a registration of the NULL pointer");
            return Err(WSAEFAULT);
        }
        let handle = self.new_handle();
        self.buffers.insert(handle, Buffer { judge: Arc::clone(&judge), start, bytes, users: 0 });
        let count = self.buffers.values().filter(|buffer| Arc::ptr_eq(&buffer.judge, &judge)).count();
        let mut totals = judge.totals();
        totals.most_buffers = totals.most_buffers.max(count);
        Ok(handle)
    }

    pub(crate) fn deregister_buffer(&mut self, handle: isize) {
        let Some(buffer) = self.buffers.remove(&handle) else {
            return current_judge().report(Rule::Registration, "a registration that does not exist is given up");
        };
        if buffer.users > 0 {
            let what = format!("a registration is given up while {} requests use it", buffer.users);
            buffer.judge.report(Rule::Registration, what);
        }
    }

    /// The memory that a request names.
    fn range_of(&self, judge: &Judge, slice: RIO_BUF) -> Result<*mut u8, i32> {
        let Some(buffer) = self.buffers.get(&slice.BufferId) else {
            judge.report(Rule::RangeOwnership, "a request names a registration that does not exist (any more)");
            return Err(WSAEFAULT);
        };
        if u64::from(slice.Offset) + u64::from(slice.Length) > u64::from(buffer.bytes) {
            let what = format!("{} bytes at {} lie outside of {}", slice.Length, slice.Offset, buffer.bytes);
            judge.report(Rule::RangeOwnership, what);
            return Err(WSAEFAULT);
        }
        // SAFETY: the offset was checked to lie inside the registered memory.
        Ok(unsafe { buffer.start.add(slice.Offset as usize) })
    }

    // Completion queues

    pub(crate) fn completion_judge(&self, queue: isize) -> Option<Arc<Judge>> {
        self.completion_queues.get(&queue).map(|queue| Arc::clone(&queue.judge))
    }

    pub(crate) fn create_completion_queue(
        &mut self,
        size: u32,
        notification: Option<RIO_NOTIFICATION_COMPLETION>,
    ) -> Result<isize, i32> {
        let judge = current_judge();
        check_size(&judge, size)?;
        let notification = match notification {
            None => None,
            Some(notification) if notification.Type != RIO_IOCP_COMPLETION => return Err(WSAEOPNOTSUPP),
            // SAFETY: the type says which half of the union it is.
            Some(notification) => Some(self.check_notification(&judge, unsafe { &notification.Anonymous.Iocp })?),
        };
        let handle = self.new_handle();
        self.completion_queues.insert(handle, CompletionQueue::new(Arc::clone(&judge), size, notification));
        self.count_entries(&judge);
        engine::run();
        Ok(handle)
    }

    fn check_notification(
        &self,
        judge: &Judge,
        asked: &windows_sys::Win32::Networking::WinSock::RIO_NOTIFICATION_COMPLETION_0_1,
    ) -> Result<Notification, i32> {
        let notification = Notification {
            port: asked.IocpHandle,
            key: asked.CompletionKey as usize,
            overlapped: asked.Overlapped.cast(),
        };
        if notification.port.is_null() || notification.port == INVALID_HANDLE_VALUE {
            judge.report(Rule::QueueCarriesPort, "a completion queue that notifies a port has no port");
            return Err(WSAEINVAL);
        }
        if notification.overlapped.is_null() {
            judge.report(Rule::QueueSize, "a completion queue that notifies a port has no OVERLAPPED");
            return Err(WSAEINVAL);
        }
        let own = self.completion_queues.values().filter(|queue| std::ptr::eq(&raw const *queue.judge, judge));
        let mut others = own.filter_map(|queue| queue.notification);
        if others.any(|other| other.overlapped == notification.overlapped) {
            judge.report(Rule::OwnOverlapped, "two completion queues have one OVERLAPPED");
            return Err(WSAEINVAL);
        }
        Ok(notification)
    }

    pub(crate) fn resize_completion_queue(&mut self, handle: isize, size: u32) -> Result<(), i32> {
        let queue = self.completion_queues.get_mut(&handle).ok_or(WSAEINVAL)?;
        check_size(&queue.judge, size)?;
        if size < queue.charged {
            let what = format!("a completion queue shrinks to {size}, but {} entries are promised", queue.charged);
            queue.judge.report(Rule::GrowFirst, what);
            return Err(WSAETOOMANYREFS);
        }
        queue.size = size;
        let judge = Arc::clone(&queue.judge);
        self.count_entries(&judge);
        Ok(())
    }

    fn count_entries(&self, judge: &Arc<Judge>) {
        let queues = self.completion_queues.values().filter(|queue| Arc::ptr_eq(&queue.judge, judge));
        let entries = queues.map(|queue| queue.size).sum();
        let mut totals = judge.totals();
        totals.most_entries = totals.most_entries.max(entries);
    }

    pub(crate) fn close_completion_queue(&mut self, handle: isize) {
        let Some(queue) = self.completion_queues.remove(&handle) else {
            return current_judge().report(Rule::QueueTeardown, "a completion queue is closed that does not exist");
        };
        let outstanding = self.outstanding_on(handle);
        if outstanding > 0 {
            let what = format!("a completion queue is closed while {outstanding} requests are outstanding");
            queue.judge.report(Rule::QueueTeardown, what);
        }
    }

    fn outstanding_on(&self, completion_queue: isize) -> u32 {
        self.busy_lanes().filter(|lane| lane.completion_queue == completion_queue).map(|lane| lane.outstanding).sum()
    }

    fn busy_lanes(&self) -> impl Iterator<Item = &Lane> {
        self.busy.iter().filter_map(|handle| self.request_queues.get(handle)).flat_map(|queue| &queue.lanes)
    }

    /// `None`: the queue is corrupt.
    pub(crate) fn dequeue(&mut self, handle: isize, results: &mut [RIORESULT]) -> Option<u32> {
        let queue = self.completion_queues.get_mut(&handle)?;
        if queue.judge.faults().corrupt {
            if std::mem::replace(&mut queue.told_corrupt, true) {
                queue.judge.report(Rule::QueueExclusion, "a completion queue is used on after it was found corrupt");
            }
            return None;
        }
        let mut count = results.len().min(queue.entries.len());
        if count > 1 && queue.judge.one_in(queue.judge.settings.disorder.short_dequeue_one_in) {
            count = 1 + queue.judge.below(count as u32 - 1) as usize;
        }
        let entries: Vec<Entry> = queue.entries.drain(..count).collect();
        for (result, entry) in results.iter_mut().zip(entries) {
            *result = entry.result();
            self.take_back(&entry);
        }
        Some(count as u32)
    }

    /// The caller has the completion: quota, buffer and, after the last one of a closed socket, credit come back.
    fn take_back(&mut self, entry: &Entry) {
        if let Some(buffer) = self.buffers.get_mut(&entry.buffer) {
            buffer.users -= 1;
            if !entry.range.is_untouched() {
                let what = format!("the range of a {:?} changed before its completion was dequeued", entry.direction);
                buffer.judge.report(Rule::RangeOwnership, what);
            }
        }
        let Some(queue) = self.request_queues.get_mut(&entry.queue) else { return };
        queue.lanes[entry.direction as usize].outstanding -= 1;
        if queue.outstanding() > 0 {
            return;
        }
        self.busy.remove(&entry.queue);
        if queue.closed {
            self.release(entry.queue);
        }
    }

    pub(crate) fn notify(&mut self, handle: isize) -> Result<(), i32> {
        let queue = self.completion_queues.get(&handle).ok_or(WSAEINVAL)?;
        let judge = Arc::clone(&queue.judge);
        let requests = || self.busy_lanes().filter(|lane| lane.completion_queue == handle).flat_map(Lane::requests);
        if requests().any(|request| request.deferred) {
            judge.report(Rule::Commit, "a notification is armed while deferred requests wait for their commit");
        }
        let silent = requests().next().is_some() && !requests().any(|request| request.notifies);
        if silent && !queue.entries.iter().any(|entry| entry.notifies) {
            judge.report(Rule::SilentBatch, "a notification is armed, but every outstanding request is a silent one");
        }
        let queue = self.completion_queues.get_mut(&handle).ok_or(WSAEINVAL)?;
        queue.arm()?;
        engine::wake();
        Ok(())
    }

    // Request queues

    pub(crate) fn request_judge(&self, queue: isize) -> Option<Arc<Judge>> {
        self.request_queues.get(&queue).map(|queue| Arc::clone(&queue.judge))
    }

    pub(crate) fn create_request_queue(
        &mut self,
        socket: SOCKET,
        limits: [u32; 2],
        buffers: [u32; 2],
        completion_queues: [isize; 2],
        context: u64,
    ) -> Result<isize, i32> {
        let [receive, send] = completion_queues;
        let (Some(judge), true) = (self.completion_judge(receive), self.completion_queues.contains_key(&send)) else {
            current_judge().report(Rule::QueueLimits, "a request queue has no completion queue");
            return Err(WSAEINVAL);
        };
        if limits == [0, 0] || buffers != [1, 1] {
            let what = format!("a request queue for {limits:?} requests of {buffers:?} buffers");
            judge.report(Rule::QueueLimits, what);
            return Err(WSAEINVAL);
        }
        if let Some(code) = judge.faults().refuse_queue {
            return Err(code);
        }
        let facts = self.sockets.get(&socket);
        if !facts.is_some_and(|facts| facts.registered) {
            judge.report(Rule::RegisteredSocket, "the socket was created without WSA_FLAG_REGISTERED_IO");
            return Err(WSAEOPNOTSUPP);
        }
        if facts.is_some_and(|facts| facts.request_queue.is_some()) {
            judge.report(Rule::RegisteredSocket, "the socket has a request queue already, which ends with the socket");
            return Err(WSAEINVAL);
        }
        self.charge(&judge, [receive, send], limits)?;
        let handle = self.new_handle();
        let lanes = [Lane::new(limits[0], receive), Lane::new(limits[1], send)];
        self.request_queues.insert(handle, RequestQueue { judge, socket, context, closed: false, lanes });
        self.sockets.entry(socket).or_default().request_queue = Some(handle);
        Ok(handle)
    }

    fn charge(&mut self, judge: &Judge, queues: [isize; 2], limits: [u32; 2]) -> Result<(), i32> {
        let needs = if queues[0] == queues[1] {
            [(queues[0], limits[0] + limits[1]), (queues[1], 0)]
        } else {
            [(queues[0], limits[0]), (queues[1], limits[1])]
        };
        for (handle, need) in needs {
            let queue = self.completion_queues.get(&handle).ok_or(WSAEINVAL)?;
            if need <= queue.room() {
                continue;
            }
            // A caller who gave back the credit of a socket too early is told so, and not just that there is none.
            let closing = self
                .request_queues
                .values()
                .any(|other| other.closed && other.lanes.iter().any(|lane| lane.completion_queue == handle));
            let rule = if closing { Rule::NothingPromised } else { Rule::GrowFirst };
            let what = format!("{need} entries are needed and {} of {} are free", queue.room(), queue.size);
            judge.report(rule, what);
            return Err(WSAENOBUFS);
        }
        for (handle, need) in needs {
            if let Some(queue) = self.completion_queues.get_mut(&handle) {
                queue.charged += need;
            }
        }
        Ok(())
    }

    pub(crate) fn resize_request_queue(&mut self, handle: isize, limits: [u32; 2]) -> Result<(), i32> {
        let queue = self.request_queues.get(&handle).filter(|queue| !queue.closed).ok_or(WSAEINVAL)?;
        let judge = Arc::clone(&queue.judge);
        if queue.lanes.iter().zip(limits).any(|(lane, limit)| limit < lane.outstanding) || limits == [0, 0] {
            judge.report(Rule::QueueLimits, "a request queue shrinks below what is outstanding");
            return Err(WSAEINVAL);
        }
        let queues = [queue.lanes[0].completion_queue, queue.lanes[1].completion_queue];
        let old = [queue.lanes[0].limit, queue.lanes[1].limit];
        self.refund(queues, old);
        if let Err(code) = self.charge(&judge, queues, limits) {
            self.charge(&judge, queues, old)?;
            return Err(code);
        }
        if let Some(queue) = self.request_queues.get_mut(&handle) {
            queue.lanes[0].limit = limits[0];
            queue.lanes[1].limit = limits[1];
        }
        Ok(())
    }

    fn refund(&mut self, queues: [isize; 2], limits: [u32; 2]) {
        for (handle, limit) in queues.into_iter().zip(limits) {
            if let Some(queue) = self.completion_queues.get_mut(&handle) {
                queue.charged -= limit;
            }
        }
    }

    /// A request queue that is closed and drained gives its credit back.
    fn release(&mut self, handle: isize) {
        let Some(queue) = self.request_queues.remove(&handle) else { return };
        let [receive, send] = &queue.lanes;
        self.refund([receive.completion_queue, send.completion_queue], [receive.limit, send.limit]);
    }

    // Requests

    /// A send or a receive. `slice` is `None` for a NULL buffer.
    pub(crate) fn request(
        &mut self,
        handle: isize,
        direction: Direction,
        slice: Option<RIO_BUF>,
        buffers: u32,
        flags: u32,
        context: u64,
    ) -> Result<(), i32> {
        let Some(queue) = self.request_queues.get_mut(&handle).filter(|queue| !queue.closed) else {
            // Its memory went with the socket: on Windows this call reads freed memory.
            current_judge().report(Rule::SocketTeardown, format!("a {direction:?} after the socket was closed"));
            return Err(WSAENOTSOCK);
        };
        let judge = Arc::clone(&queue.judge);
        if flags & RIO_MSG_COMMIT_ONLY != 0 {
            if flags != RIO_MSG_COMMIT_ONLY || slice.is_some() || buffers != 0 || context != 0 {
                judge.report(Rule::Commit, "a commit has other flags, a buffer, or a context");
                return Err(WSAEINVAL);
            }
            queue.lanes[direction as usize].commit();
            judge.totals().commits += 1;
            engine::wake();
            return Ok(());
        }
        if flags & !(RIO_MSG_DEFER | RIO_MSG_DONT_NOTIFY) != 0 {
            return Err(WSAEOPNOTSUPP);
        }
        let slice = check_slice(&judge, direction, slice, buffers)?;
        let start = self.range_of(&judge, slice)?;
        self.check_outstanding(&judge, handle, direction)?;
        self.check_overlap(&judge, direction, start, slice.Length)?;
        let ordered_status = judge.faults().next_request()?;
        if let Some(buffer) = self.buffers.get_mut(&slice.BufferId) {
            buffer.users += 1;
        }
        let deferred = flags & RIO_MSG_DEFER != 0;
        let request = Request {
            context,
            notifies: flags & RIO_MSG_DONT_NOTIFY == 0,
            deferred,
            early: deferred && judge.one_in(judge.settings.disorder.early_start_one_in),
            hold: judge.hold(),
            buffer: slice.BufferId,
            // SAFETY: the range was checked to be registered, and registered memory is readable and writable.
            range: unsafe { Guarded::new(start, slice.Length as usize) },
            ordered_status,
        };
        {
            let mut totals = judge.totals();
            totals.requests += 1;
            totals.deferred += u64::from(deferred);
        }
        let Some(queue) = self.request_queues.get_mut(&handle) else { return Err(WSAENOTSOCK) };
        let lane = &mut queue.lanes[direction as usize];
        lane.outstanding += 1;
        self.busy.insert(handle);
        lane.waiting.push_back(request);
        if !deferred {
            lane.commit();
        }
        engine::wake();
        Ok(())
    }

    fn check_outstanding(&self, judge: &Judge, handle: isize, direction: Direction) -> Result<(), i32> {
        let Some(queue) = self.request_queues.get(&handle) else { return Err(WSAENOTSOCK) };
        let lane = &queue.lanes[direction as usize];
        if lane.outstanding < lane.limit {
            return Ok(());
        }
        let what = format!("a {direction:?} while {} of {} are outstanding", lane.outstanding, lane.limit);
        let rule = if lane.requests().count() < lane.limit as usize { Rule::DequeueFrees } else { Rule::Outstanding };
        judge.report(rule, what);
        Err(WSAENOBUFS)
    }

    /// A range that the system receives into is nobody else's; one that is sent may not be sent again meanwhile.
    fn check_overlap(&self, judge: &Judge, direction: Direction, start: *mut u8, bytes: u32) -> Result<(), i32> {
        let in_flight = self.busy_lanes().flat_map(Lane::requests);
        let landed = self.completion_queues.values().flat_map(|queue| &queue.entries);
        let mut ranges = in_flight.map(|request| &request.range).chain(landed.map(|entry| &entry.range));
        if !ranges.any(|range| range.overlaps(start, bytes as usize)) {
            return Ok(());
        }
        judge.report(Rule::RangeOwnership, format!("a {direction:?} of a range that another request uses"));
        Err(WSAEFAULT)
    }

    // Sockets

    pub(crate) fn socket_created(&mut self, socket: SOCKET, registered: bool) {
        self.sockets.insert(socket, SocketFacts { registered, request_queue: None });
    }

    /// The socket is about to be closed.
    pub(crate) fn socket_closing(&mut self, socket: SOCKET) {
        let Some(handle) = self.sockets.remove(&socket).and_then(|facts| facts.request_queue) else { return };
        let Some(queue) = self.request_queues.get_mut(&handle) else { return };
        queue.close();
        if queue.outstanding() == 0 {
            self.release(handle);
        }
        engine::wake();
    }

    // The engine

    /// Moves everything on that can be. `event` is signalled by overlapped calls. Returns how long to sleep at most.
    pub(crate) fn turn(&mut self, event: HANDLE) -> engine::Sleep {
        let mut held = false;
        let mut active = false;
        // Each socket's place in the turn is drawn by lot; among equals, and without disorder, the oldest comes first.
        let mut order: Vec<(u32, isize)> = self
            .busy
            .iter()
            .filter_map(|&handle| {
                let judge = &self.request_queues.get(&handle)?.judge;
                Some((judge.below(judge.settings.disorder.shuffle), handle))
            })
            .collect();
        order.sort_unstable();
        for (_, handle) in order {
            let Some(queue) = self.request_queues.get_mut(&handle) else { continue };
            let mut landed = Vec::new();
            for direction in [Direction::Send, Direction::Receive] {
                held |= queue.turn(direction, event);
                while let Some(finished) = queue.next_finished(direction) {
                    landed.push((direction, finished));
                }
                let lane = &queue.lanes[direction as usize];
                active |= lane.is_active();
                held |= !lane.finished.is_empty();
            }
            for (direction, finished) in landed {
                self.land(handle, direction, finished);
            }
        }
        for queue in self.completion_queues.values_mut() {
            held |= queue.turn();
        }
        match (held, active) {
            (true, _) => engine::Sleep::Short,
            (false, true) => engine::Sleep::UntilDone,
            (false, false) => engine::Sleep::UntilCalled,
        }
    }

    /// A completion enters its queue.
    fn land(&mut self, handle: isize, direction: Direction, finished: Finished) {
        let Some(queue) = self.request_queues.get(&handle) else { return };
        let Finished { mut request, status, bytes, received, .. } = finished;
        if self.buffers.contains_key(&request.buffer) {
            if !request.range.is_untouched() {
                let what = format!("the range of a {direction:?} was touched before its completion");
                queue.judge.report(Rule::RangeOwnership, what);
            }
            request.range.write(&received);
        }
        // Without its queue a completion is lost, silently; closing the queue was reported.
        let Some(completions) = self.completion_queues.get_mut(&queue.lanes[direction as usize].completion_queue)
        else {
            return;
        };
        completions.entries.push_back(Entry {
            status,
            bytes,
            socket_context: queue.context,
            request_context: request.context,
            notifies: request.notifies,
            queue: handle,
            direction,
            buffer: request.buffer,
            range: request.range,
        });
    }

    pub(crate) fn census(&self, judge: &Arc<Judge>) -> Census {
        let queues = || self.completion_queues.values().filter(|queue| Arc::ptr_eq(&queue.judge, judge));
        let requests = || self.request_queues.values().filter(|queue| Arc::ptr_eq(&queue.judge, judge));
        let totals = *judge.totals();
        Census {
            completion_queues: queues().count(),
            queue_entries: queues().map(|queue| queue.size).sum(),
            charged_entries: queues().map(|queue| queue.charged).sum(),
            request_queues: requests().count(),
            outstanding: requests().map(|queue| queue.outstanding() as usize).sum(),
            completed: queues().map(|queue| queue.entries.len()).sum(),
            buffers: self.buffers.values().filter(|buffer| Arc::ptr_eq(&buffer.judge, judge)).count(),
            requests_ever: totals.requests,
            deferred_ever: totals.deferred,
            commits_ever: totals.commits,
            most_buffers: totals.most_buffers,
            most_queue_entries: totals.most_entries,
        }
    }
}

fn check_size(judge: &Judge, size: u32) -> Result<(), i32> {
    if (1..=RIO_MAX_CQ_SIZE).contains(&size) {
        return Ok(());
    }
    judge.report(Rule::QueueSize, format!("a completion queue of {size} entries"));
    Err(WSAEINVAL)
}

fn check_slice(judge: &Judge, direction: Direction, slice: Option<RIO_BUF>, buffers: u32) -> Result<RIO_BUF, i32> {
    match slice {
        Some(slice) if buffers == 1 && slice.Length > 0 => Ok(slice),
        _ => {
            let bytes = slice.map_or(0, |slice| slice.Length);
            judge.report(Rule::OneBuffer, format!("a {direction:?} of {buffers} buffers and {bytes} bytes on TCP"));
            Err(WSAEINVAL)
        }
    }
}
