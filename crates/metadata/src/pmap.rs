//! The persistent ordered map that images are made of.
//!
//! A B+ tree whose nodes are shared between clones and copied when a clone changes what it shares.
//! Nodes hold vectors without spare room, and a node that overflows at its end is split at its end:
//! keys that come in ascending order, as offsets and partitions do, fill their nodes. That, and larger
//! nodes where there are no counted values to copy, is what it has over a map from the shelf.

mod diff;
mod iter;
mod node;

use node::{Inserted, Node};
use std::borrow::Borrow;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

/// One key at which two maps differ: `old` is `None` for an addition, `new` for a removal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change<K, V> {
    /// What changed.
    pub key: K,
    /// Its value in the older map.
    pub old: Option<V>,
    /// Its value in the newer map.
    pub new: Option<V>,
}

/// An ordered map whose clones share structure: cloning is O(1), a change O(log n) and it leaves every
/// other clone as it was.
pub struct PMap<K, V> {
    /// `None` exactly if the map is empty.
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

impl<K: Ord + Clone, V: Clone> PMap<K, V> {
    /// The empty map.
    pub const fn new() -> PMap<K, V> {
        PMap { root: None, len: 0 }
    }

    /// Number of entries, O(1).
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.root.as_ref()?.get(key)
    }

    /// True if `key` has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The value at `key`, to be changed; other clones keep theirs.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        // Asked first: the way down copies what is shared.
        if !self.contains_key(key) {
            return None;
        }
        Arc::make_mut(self.root.as_mut()?).get_mut(key)
    }

    /// The value at `key`, put there first if there is none.
    pub fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        if !self.contains_key(&key) {
            self.insert(key.clone(), value());
        }
        self.get_mut(&key).expect("there was a value or it was just inserted")
    }

    /// Sets the value at `key` and gives the previous one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Node::leaf_of(key, value)));
            self.len = 1;
            return None;
        };
        match Arc::make_mut(root).insert(key, value) {
            Inserted::Replaced(old) => return Some(old),
            Inserted::Added => {}
            Inserted::Split(first, right) => {
                let left = Arc::clone(root);
                self.root = Node::branch_of(left, first, right).map(Arc::new);
            }
        }
        self.len += 1;
        None
    }

    /// Removes `key` and gives its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None;
        }
        let root = Arc::make_mut(self.root.as_mut()?);
        let value = root.remove(key)?;
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
        } else if let Some(only) = root.only_child() {
            self.root = Some(only);
        }
        Some(value)
    }

    /// All entries by ascending key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        iter::Iter::all(self.root.as_deref())
    }

    /// All keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values by ascending key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entries with keys in `range`, ascending.
    pub fn range<R: RangeBounds<K>>(&self, range: R) -> impl Iterator<Item = (&K, &V)> {
        iter::Iter::from(self.root.as_deref(), range.start_bound())
            .take_while(move |(key, _)| iter::is_before_end(*key, range.end_bound()))
    }

    /// Where `newer` differs, by ascending key. Shared parts are skipped without looking into them.
    pub fn diff<'a>(
        &'a self,
        newer: &'a PMap<K, V>,
    ) -> impl Iterator<Item = Change<&'a K, &'a V>> + use<'a, K, V>
    where
        V: PartialEq,
    {
        diff::Diff::new(self.root.as_ref(), newer.root.as_ref())
    }

    /// True if both are the very same value in memory, O(1); false says nothing.
    pub fn is_same(&self, other: &PMap<K, V>) -> bool {
        match (&self.root, &other.root) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Panics if the tree breaks one of its own rules; for tests.
    #[doc(hidden)]
    pub fn check(&self) {
        let counted = self.root.as_ref().map_or(0, |root| root.check(true).1);
        assert_eq!(counted, self.len);
    }
}

impl<K, V> Clone for PMap<K, V> {
    fn clone(&self) -> Self {
        PMap { root: self.root.clone(), len: self.len }
    }
}

impl<K: Ord + Clone, V: Clone> Default for PMap<K, V> {
    fn default() -> Self {
        PMap::new()
    }
}

impl<K: Ord + Clone + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for PMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// An ordered set whose clones share structure.
#[derive(Clone)]
pub struct PSet<K: Ord + Clone>(PMap<K, ()>);

impl<K: Ord + Clone> PSet<K> {
    /// The empty set.
    pub fn new() -> PSet<K> {
        PSet(PMap::new())
    }

    /// Number of members, O(1).
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if `key` is a member.
    pub fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// Adds or removes `key`, so that it is a member exactly if `member`.
    pub fn set(&mut self, key: K, member: bool) {
        if member {
            self.0.insert(key, ());
        } else {
            self.0.remove(&key);
        }
    }

    /// All members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }
}

impl<K: Ord + Clone> Default for PSet<K> {
    fn default() -> Self {
        PSet::new()
    }
}

impl<K: Ord + Clone + fmt::Debug> fmt::Debug for PSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
