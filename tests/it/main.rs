//! All integration tests, in one binary: one module for each subject.

mod api_convert;
mod api_server;
mod bad_input;
mod check_core;
mod golden;
mod hazards;
mod log_contract;
mod log_crash;
mod log_model;
mod log_store;
mod openraft_suite;
mod process_basic;
mod process_chaos;
mod process_cli;
mod process_exactly_once;
mod process_leases;
mod process_locks;
mod process_recency;
mod process_snapshot;
mod process_trace;
mod process_watch;
mod recipes;
mod state_measure;
mod state_properties;
mod support;
mod tidy;
