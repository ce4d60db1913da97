//! What must hold of a whole simulation, checked at its end against a replica that has applied what was
//! committed. (What must hold at every commit and every election is in `world::ledger`, and what of one
//! member, in `world::member`.)

mod checker;
mod exactly_once;
mod fencing;
mod leases;
mod reads;
mod replay;
mod watches;

use crate::workload::Clients;

/// Checks everything; violations go to the trace. Where clocks did not keep their bound, what rests on them
/// may be broken, and nothing else: leases and holders' sureness, lease reads, bounds on staleness.
pub fn check(clients: &Clients) {
    let replayed = match replay::replay(&clients.world.ledger.entries()) {
        Ok(replayed) => replayed,
        Err(why) => {
            return clients.world.trace.violation(format!("the committed log cannot be replayed: {why}"));
        }
    };
    let history = clients.history();
    let clocks = clients.plan.clocks;
    let violations = [
        exactly_once::check(&history, &replayed),
        reads::check(&history, &replayed, clocks),
        fencing::check(&history, &replayed, clocks),
        if clocks { leases::check(&history, &replayed) } else { Vec::new() },
        watches::check(&history, &replayed),
        checker::check(&history, clocks),
    ];
    for violation in violations.into_iter().flatten() {
        clients.world.trace.violation(violation);
    }
}
