//! The history checker from outside: known histories by name, and the command.

mod command;
mod documented;
mod known;
