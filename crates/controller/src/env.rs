use crate::authorize::authorize;
use crate::{ControllerConfig, Heartbeats, Operation, RequestContext, Resource};
use quorate_base::{Epoch, NodeId, Now, Prng};
use quorate_metadata::Image;

/// What a decision may look at beside the image: time, settings, chance, soft state, raft's summary.
pub struct Env<'a> {
    /// The two clocks, read once for the whole step.
    pub now: Now,
    /// The settings.
    pub config: &'a ControllerConfig,
    /// Seeded randomness: topic ids, placement offsets.
    pub prng: &'a mut Prng,
    /// Contact times and sessions.
    pub heartbeats: &'a mut Heartbeats,
    /// What raft knows of the quorum.
    pub raft: RaftView,
}

impl Env<'_> {
    /// Whether this principal may do that, by the ACLs in `image`. Everything is allowed where no
    /// authorizer is configured.
    pub fn authorize(
        &self,
        image: &Image,
        context: &RequestContext,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        allowed(self.config, image, context, operation, &resource)
    }
}

/// As [`Env::authorize`].
pub(crate) fn allowed(
    config: &ControllerConfig,
    image: &Image,
    context: &RequestContext,
    operation: Operation,
    resource: &Resource<'_>,
) -> bool {
    config.authorizer.as_ref().is_none_or(|authorizer| {
        let (principal, address) = (&context.principal, context.client_address);
        authorize(authorizer, &image.acls, principal, address, operation, resource)
    })
}

/// What the controller must know of raft; the node renews it before each step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RaftView {
    /// The leader this node knows of.
    pub leader: Option<NodeId>,
    /// The current epoch.
    pub epoch: Epoch,
    /// The finalised kraft.version, from control records.
    pub kraft_version: i16,
    /// The voters' ids.
    pub voters: Vec<NodeId>,
}
