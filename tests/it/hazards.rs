//! The known hazards of openraft (docs/adr/0002), each with a test that fails when its handling is left out.
//! Where it can be had, the test shows that itself: a *control* runs the same scenario unprotected and sees
//! the harm.
//!
//! Whole clusters under faults are the simulator's and `process_*`'s part; here a single member stands on a
//! bench, or a few of them live in this process.

mod bench;
mod config;
mod embedded;
mod members;
mod questions;
mod restart;
mod snapshots;
mod standing;
mod transfer;
mod unsynced;
