//! How many turns of the worker a packet takes. Not on Windows, where the completion of each send is one.

use fastport_io::Choice;

use crate::probe::{Fixture, on_every_backend};

on_every_backend!(a_reply_that_goes_out_alone_takes_no_turn_of_its_own);

fn a_reply_that_goes_out_alone_takes_no_turn_of_its_own(backend: Choice) {
    let service = Fixture::echo(backend);
    let mut client = service.client();
    let count = 400;
    for _ in 0..count {
        assert_eq!(client.ask(1, b"again"), (1, b"again".to_vec()));
    }
    drop(client);
    let (report, _) = service.stop();
    assert!(report.stats.batches < count + count / 4, "{} turns for {count} packets", report.stats.batches);
}
