use crate::Token;
use quorate_base::Offset;
use quorate_metadata::{ApplyError, Image, Replayer};
use quorate_protocol::{AnyRequest, AnyResponse, MetadataRecord};
use std::collections::VecDeque;

/// The states the controller holds, oldest to newest:
///
/// ```text
/// stable ≤ committed ≤ in flight (one per append) = latest
/// ```
///
/// `stable` differs from `committed` only while a metadata transaction is open (KIP-868): readers
/// never see half of one, and its abort returns to what was before it.
pub(crate) struct Timeline {
    committed: Replayer,
    /// One past the last committed record.
    committed_offset: Offset,
    /// One past the last record in the stable image.
    stable_offset: Offset,
    in_flight: VecDeque<InFlight>,
    latest: Replayer,
}

/// An answer that waits for records to be committed.
pub(crate) struct Reply {
    pub(crate) token: Token,
    /// Of request and answer.
    pub(crate) api_version: i16,
    /// Kept so that it can be refused in its own form if leadership is lost.
    pub(crate) request: AnyRequest,
    pub(crate) response: AnyResponse,
}

struct InFlight {
    base_offset: Offset,
    end_offset: Offset,
    /// The state once this append is committed.
    state: Replayer,
    replies: Vec<Reply>,
}

impl Timeline {
    pub(crate) fn new() -> Timeline {
        let empty = Replayer::new(Image::empty());
        Timeline {
            committed: empty.clone(),
            committed_offset: 0,
            stable_offset: 0,
            in_flight: VecDeque::new(),
            latest: empty,
        }
    }

    /// What readers get: everything committed, but no half of a transaction.
    pub(crate) fn stable(&self) -> &Image {
        self.committed.stable()
    }

    /// One past the last record in [`Timeline::stable`].
    pub(crate) fn stable_offset(&self) -> Offset {
        self.stable_offset
    }

    /// True if the committed records end inside of a metadata transaction.
    pub(crate) fn in_transaction(&self) -> bool {
        self.committed.open_transaction().is_some()
    }

    /// One past the last record of the newest state.
    pub(crate) fn end_offset(&self) -> Offset {
        self.in_flight.back().map_or(self.committed_offset, |it| it.end_offset)
    }

    /// What decisions build on.
    pub(crate) fn latest(&self) -> &Replayer {
        &self.latest
    }

    /// An append was decided on, with the state at its end.
    pub(crate) fn append(&mut self, base_offset: Offset, count: usize, state: Replayer) {
        assert!(count > 0, "an append has records");
        let last_end = self.end_offset();
        assert!(base_offset >= last_end, "append at {base_offset} before the end {last_end}");
        self.latest = state.clone();
        let end_offset = base_offset + count as Offset;
        self.in_flight.push_back(InFlight { base_offset, end_offset, state, replies: Vec::new() });
    }

    /// Holds an answer back until everything appended so far is committed: it may rest on any of it.
    /// Hands it back if nothing is waited for.
    pub(crate) fn reply(&mut self, reply: Reply) -> Option<Reply> {
        match self.in_flight.back_mut() {
            Some(last) => {
                last.replies.push(reply);
                None
            }
            None => Some(reply),
        }
    }

    /// Everything before `end_offset` is committed. Hands out the answers that waited for it.
    pub(crate) fn commit(&mut self, end_offset: Offset) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(done) = self.in_flight.pop_front_if(|it| it.end_offset <= end_offset) {
            self.committed = done.state;
            replies.extend(done.replies);
        }
        if let Some(next) = self.in_flight.front() {
            assert!(end_offset <= next.base_offset, "committed {end_offset} inside of an append");
        }
        // Raft's control records move the offset without touching the state.
        self.advance(end_offset);
        replies
    }

    /// Applies committed records that somebody else decided on, or that were there at the start.
    /// `end_offset` is beyond the records if control records of raft follow.
    pub(crate) fn replay(
        &mut self,
        base_offset: Offset,
        end_offset: Offset,
        records: &[MetadataRecord],
    ) -> Result<(), (Offset, ApplyError)> {
        assert!(self.in_flight.is_empty(), "replay with appends in flight");
        assert!(base_offset >= self.committed_offset, "replay of {base_offset} again");
        for (offset, record) in (base_offset..).zip(records) {
            self.committed.apply(record).map_err(|error| (offset, error))?;
        }
        self.latest = self.committed.clone();
        self.advance(end_offset);
        Ok(())
    }

    /// Starts over from a snapshot that ends before `end_offset`.
    pub(crate) fn load(&mut self, image: Image, end_offset: Offset) {
        assert!(self.in_flight.is_empty(), "a snapshot was loaded with appends in flight");
        self.committed = Replayer::new(image);
        self.latest = self.committed.clone();
        self.committed_offset = end_offset;
        self.stable_offset = end_offset;
    }

    /// Leadership is lost: what was not committed never happened here. Hands back whom to tell.
    pub(crate) fn resign(&mut self) -> Vec<Reply> {
        self.latest = self.committed.clone();
        self.in_flight.drain(..).flat_map(|it| it.replies).collect()
    }

    fn advance(&mut self, end_offset: Offset) {
        self.committed_offset = self.committed_offset.max(end_offset);
        if self.committed.open_transaction().is_none() {
            self.stable_offset = self.committed_offset;
        }
    }
}
