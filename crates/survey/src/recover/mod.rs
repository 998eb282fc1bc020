//! A quorum that lost its majority, or its way to each other, made to work again from what is left.
//!
//! [`plan`] looks only: it picks the best log, says what is kept and what could be lost, and lists
//! what speaks against going on. [`probe`] asks whether anybody else is alive. [`execute`] is the
//! one place of this crate that writes: first a copy of everything it changes, then the change.
//!
//! Why old voters stay out: the new epoch lies far above any that was seen, and every node that
//! hears of a higher epoch gives way to it. A returning voter asks the recovered one for its vote,
//! is answered with that epoch, follows, cuts off what the recovered log has not, and reads there
//! that it is no voter any more.
//!
//! Where records may be lost, brokers may have seen more than the kept log tells: what they compare is
//! raised above it by records behind the new voter set ([`Raise`]).

mod execute;
mod plan;
mod probe;
mod raise;

pub use execute::{ExecuteError, Executed, execute};
pub use plan::{
    Candidate, EPOCH_MARGIN, EndpointChange, NewVoters, Plan, PlanError, Refusal, Request, plan,
};
pub use probe::{Answer, Probed, probe};
pub use raise::{LEADER_EPOCH_MARGIN, PRODUCER_ID_MARGIN, Raise};
