//! The heart of the history checker: against brute force, against itself, and against known anomalies.

mod anomalies;
mod brute;
mod compare;
mod large;
mod metamorphic;
mod store;
