//! The one queue into the core thread.
//!
//! Requests from outside need a permit to enter, so that the queue stays short however many clients
//! send; what the process tells itself (synced, answered, closed) is bounded by what it asked for
//! and always enters.

use crate::audit::Written;
use quorate_base::{Epoch, NodeId};
use quorate_controller::RequestContext;
pub use quorate_host::Fill;
use quorate_node::{Event, Token};
use quorate_protocol::{AnyRequest, AnyResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Requests waiting for the core thread, at most.
const QUEUED_REQUESTS_MAX: usize = 1024;

/// What reaches the core thread.
pub enum Input {
    /// A request and the way back.
    Request(Box<Request>),
    /// Anything else.
    Event(Box<Event>),
    /// Something that ends the process at once, such as a failing disk.
    Failed(Failure),
}

/// An input on its way.
pub struct Queued {
    /// It.
    pub input: Input,
    /// When it entered the queue.
    pub since: Instant,
}

/// Why the process must end without handing over.
#[derive(Debug)]
pub struct Failure {
    /// What happened and what to do next.
    pub why: String,
    /// For the process.
    pub exit_code: i32,
}

/// A request on its way in.
pub struct Request {
    /// Names it.
    pub token: Token,
    /// Everything about it but the body.
    pub context: RequestContext,
    /// The body.
    pub request: AnyRequest,
    /// Where the answer goes. Dropped unanswered: the connection is closed.
    pub reply: oneshot::Sender<Reply>,
    /// Given back when the core thread takes the request.
    pub permit: OwnedSemaphorePermit,
}

/// An answer, perhaps with bytes still to be read from disk by whoever sends it.
pub struct Reply {
    /// The body.
    pub response: AnyResponse,
    /// What is to be filled in.
    pub fill: Fill,
    /// The records that it wrote.
    pub written: Option<Written>,
}

/// Where the node stands, as the driver last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// As Kafka's `current-state` names it; empty before the first report.
    pub role: &'static str,
    /// The epoch.
    pub epoch: Epoch,
    /// The leader, where known.
    pub leader: Option<NodeId>,
    /// Whether this node decides requests.
    pub active: bool,
}

/// The sending side; cheap to clone.
#[derive(Clone)]
pub struct CoreQueue {
    inputs: Sender<Queued>,
    permits: Arc<Semaphore>,
    next_token: Arc<AtomicU64>,
}

/// The core thread's side.
pub struct CoreInbox {
    inputs: Receiver<Queued>,
}

/// Requests that wait for the core thread, to look at.
#[derive(Clone)]
pub struct WaitingRequests(Arc<Semaphore>);

impl WaitingRequests {
    /// How many there are now.
    pub fn count(&self) -> usize {
        QUEUED_REQUESTS_MAX.saturating_sub(self.0.available_permits())
    }
}

/// The core thread is gone: the process is ending.
#[derive(Debug)]
pub struct CoreGone;

/// Makes the queue.
pub fn core_queue() -> (CoreQueue, CoreInbox) {
    let (sender, receiver) = channel();
    let queue = CoreQueue {
        inputs: sender,
        permits: Arc::new(Semaphore::new(QUEUED_REQUESTS_MAX)),
        next_token: Arc::new(AtomicU64::new(1)),
    };
    (queue, CoreInbox { inputs: receiver })
}

impl CoreQueue {
    /// Hands a request in, waiting while too many are queued. The answer comes through the receiver.
    pub async fn request(
        &self,
        context: RequestContext,
        request: AnyRequest,
    ) -> Result<(Token, oneshot::Receiver<Reply>), CoreGone> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| CoreGone)?;
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let request = Box::new(Request { token, context, request, reply, permit });
        self.enter(Input::Request(request))?;
        Ok((token, answer))
    }

    /// To see how many requests wait, without keeping the queue open.
    pub fn waiting(&self) -> WaitingRequests {
        WaitingRequests(self.permits.clone())
    }

    fn enter(&self, input: Input) -> Result<(), CoreGone> {
        self.inputs.send(Queued { input, since: Instant::now() }).map_err(|_| CoreGone)
    }

    /// Tells the node something. Nothing is lost if the core thread is gone: so is its state.
    pub fn tell(&self, event: Event) {
        let _ = self.enter(Input::Event(Box::new(event)));
    }

    /// Ends the process without handing over.
    pub fn fail(&self, why: String, exit_code: i32) {
        let _ = self.enter(Input::Failed(Failure { why, exit_code }));
    }
}

/// Tells the core if the thread that holds it dies of a broken invariant: a process without its disk
/// must not go on as if nothing had happened.
pub struct FailIfPanicking {
    /// Whom to tell.
    pub core: CoreQueue,
    /// The thread, for the message.
    pub thread: &'static str,
}

impl Drop for FailIfPanicking {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.core.fail(format!("the {} thread ended by a broken invariant", self.thread), 1);
        }
    }
}

impl CoreInbox {
    /// What is there now.
    pub fn take(&self) -> Option<Queued> {
        self.inputs.try_recv().ok()
    }

    /// The next input, or nothing once `deadline` has come.
    pub fn wait(&self, deadline: Option<Instant>) -> Option<Queued> {
        let Some(deadline) = deadline else { return self.inputs.recv().ok() };
        let left = deadline.saturating_duration_since(Instant::now());
        self.inputs.recv_timeout(left).ok()
    }
}
