//! Images are equal at equal offsets: each node's committed image has the content that the committed
//! log says, wherever it came from: replay, the controller's own drafts, or a snapshot.
//!
//! Source: design §4 and §8; State Machine Safety (Raft §5.4.3).

use super::shadow::Entry;
use quorate_base::{NodeId, Offset};
use quorate_metadata::{Image, Replayer, load_values};
use quorate_protocol::batch::Batch;
use std::collections::BTreeMap;

/// The committed state at the end of each committed batch.
pub struct Images {
    replayer: Replayer,
    by_offset: BTreeMap<Offset, (Image, Option<u64>)>,
}

impl Default for Images {
    fn default() -> Images {
        let empty = Image::empty();
        let by_offset = BTreeMap::from([(0, (empty.clone(), None))]);
        Images { replayer: Replayer::new(empty), by_offset }
    }
}

impl Images {
    /// The newest committed state.
    pub fn newest(&self) -> &Image {
        self.replayer.stable()
    }

    /// Another batch is committed: the states before and after it.
    pub fn commit(&mut self, entry: &Entry) -> (Image, Image) {
        let older = self.replayer.stable().clone();
        let batch = Batch::parse(&entry.bytes, 0).expect("committed batches are whole");
        if !batch.is_control() {
            let values = batch.records().map(|record| {
                let record = record.expect("committed records are readable");
                (record.offset, record.value.unwrap_or_default())
            });
            if let Err(error) = load_values(&mut self.replayer, values) {
                panic!("IMAGES: what is committed cannot be replayed: {error}");
            }
        }
        let newer = self.replayer.stable().clone();
        self.by_offset.insert(entry.end, (newer.clone(), None));
        (older, newer)
    }

    /// A node has this image at that offset.
    pub fn published(&mut self, id: NodeId, image: &Image, offset: Offset) {
        let Some((expected, hash)) = self.by_offset.get_mut(&offset) else {
            panic!("IMAGES: {id} has an image at {offset}, where no committed batch ends");
        };
        let hash = *hash.get_or_insert_with(|| expected.content_hash());
        assert_eq!(
            image.content_hash(),
            hash,
            "IMAGES: {id} has another image at {offset} than the log says"
        );
    }
}
