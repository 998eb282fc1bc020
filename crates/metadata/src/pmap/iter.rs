use super::node::{Node, child};
use std::ops::Bound;
use std::slice;
use std::sync::Arc;

type Siblings<'a, K, V> = slice::Iter<'a, (K, Arc<Node<K, V>>)>;

/// What is left to go through: the rest of a leaf, then the rest of each branch above it.
pub(super) struct Iter<'a, K, V> {
    leaf: slice::Iter<'a, (K, V)>,
    above: Vec<Siblings<'a, K, V>>,
}

impl<'a, K: Ord, V> Iter<'a, K, V> {
    pub(super) fn all(root: Option<&'a Node<K, V>>) -> Iter<'a, K, V> {
        Iter::from(root, Bound::Unbounded)
    }

    /// Begins with the first key that `start` admits.
    pub(super) fn from(root: Option<&'a Node<K, V>>, start: Bound<&K>) -> Iter<'a, K, V> {
        let mut iter = Iter { leaf: [].iter(), above: Vec::new() };
        if let Some(root) = root {
            iter.descend(root, start);
        }
        iter
    }

    fn descend(&mut self, mut node: &'a Node<K, V>, start: Bound<&K>) {
        loop {
            match node {
                Node::Leaf(entries) => {
                    let skip = entries.partition_point(|(key, _)| match start {
                        Bound::Unbounded => false,
                        Bound::Included(start) => key < start,
                        Bound::Excluded(start) => key <= start,
                    });
                    self.leaf = entries[skip..].iter();
                    return;
                }
                Node::Branch(children) => {
                    let at = match start {
                        Bound::Unbounded => 0,
                        Bound::Included(start) | Bound::Excluded(start) => child(children, start),
                    };
                    self.above.push(children[at + 1..].iter());
                    node = &children[at].1;
                }
            }
        }
    }
}

impl<'a, K: Ord, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            match self.above.last_mut()?.next() {
                Some((_, node)) => self.descend(node, Bound::Unbounded),
                None => {
                    self.above.pop();
                }
            }
        }
    }
}

/// True if `end` still admits `key`.
pub(super) fn is_before_end<K: Ord>(key: &K, end: Bound<&K>) -> bool {
    match end {
        Bound::Unbounded => true,
        Bound::Included(end) => key <= end,
        Bound::Excluded(end) => key < end,
    }
}
