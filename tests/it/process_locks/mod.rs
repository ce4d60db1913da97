//! Locks and elections on real processes: hand-overs under kills, the counter that only guards keep
//! exact, the command line, the wire.

mod command;
mod counter;
mod handover;
mod wire;
