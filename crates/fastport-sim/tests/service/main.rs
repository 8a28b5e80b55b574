//! Limits and recovery of a service in virtual time: each test says to the millisecond what happens when.

mod stage;

mod limits;
mod recovery;
