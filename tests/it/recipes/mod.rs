//! Locks and elections over three members that live in this process: order, exclusion, tokens, and what is
//! said to those who use them wrongly. Whole processes under kills are `process_locks`'s part.

mod elections;
mod faults;
mod faulty;
mod fixture;
mod guards;
mod locks;
mod wrong_use;
