//! The example that README points to: what it shows must go on to work.

#[path = "../../../examples/embedded.rs"]
mod example;

#[test]
fn the_embedded_example_runs_to_its_end() {
    example::main().expect("the example");
}
