use super::Change;
use super::node::Node;
use std::sync::Arc;

/// Walks two trees side by side. Where both stand before the same node, neither enters it.
pub(super) struct Diff<'a, K, V> {
    old: Walk<'a, K, V>,
    new: Walk<'a, K, V>,
}

/// What is left of one tree, the next part last.
struct Walk<'a, K, V>(Vec<Part<'a, K, V>>);

enum Part<'a, K, V> {
    /// Entries of a leaf; never empty.
    Entries(&'a [(K, V)]),
    /// A subtree with a key that none in it is below (the root has none) and its levels above leaves.
    Tree(Option<&'a K>, usize, &'a Arc<Node<K, V>>),
}

impl<'a, K, V> Walk<'a, K, V> {
    fn new(root: Option<&'a Arc<Node<K, V>>>) -> Walk<'a, K, V> {
        Walk(root.map(|it| Part::Tree(None, height(it), it)).into_iter().collect())
    }

    /// Replaces the subtree that is next by its parts.
    fn enter(&mut self) {
        let Some(Part::Tree(_, height, node)) = self.0.pop() else {
            unreachable!("only a subtree is entered")
        };
        match &**node {
            Node::Leaf(entries) => self.push_entries(entries),
            Node::Branch(children) => {
                let parts = children.iter().rev();
                self.0.extend(parts.map(|(first, node)| Part::Tree(Some(first), height - 1, node)));
            }
        }
    }

    fn push_entries(&mut self, entries: &'a [(K, V)]) {
        if !entries.is_empty() {
            self.0.push(Part::Entries(entries));
        }
    }

    /// Takes the entry that is next.
    fn take(&mut self) -> &'a (K, V) {
        let Some(Part::Entries([first, rest @ ..])) = self.0.pop() else {
            unreachable!("only an entry is taken")
        };
        self.push_entries(rest);
        first
    }
}

/// Levels above the leaves.
fn height<K, V>(node: &Node<K, V>) -> usize {
    let (mut node, mut height) = (node, 0);
    while let Node::Branch(children) = node {
        node = &children[0].1;
        height += 1;
    }
    height
}

impl<'a, K: Ord, V: PartialEq> Diff<'a, K, V> {
    pub(super) fn new(
        old: Option<&'a Arc<Node<K, V>>>,
        new: Option<&'a Arc<Node<K, V>>>,
    ) -> Diff<'a, K, V> {
        Diff { old: Walk::new(old), new: Walk::new(new) }
    }

    fn removed(&mut self) -> Change<&'a K, &'a V> {
        let (key, value) = self.old.take();
        Change { key, old: Some(value), new: None }
    }

    fn added(&mut self) -> Change<&'a K, &'a V> {
        let (key, value) = self.new.take();
        Change { key, old: None, new: Some(value) }
    }

    /// Enters the taller tree; of two equally tall ones that which begins first, so that the other may
    /// still meet its own self later; of two that begin together both.
    fn enter_one(&mut self) {
        let (Some(Part::Tree(a, old, _)), Some(Part::Tree(b, new, _))) =
            (self.old.0.last(), self.new.0.last())
        else {
            unreachable!("both stand before a subtree")
        };
        let order = new.cmp(old).then(a.cmp(b));
        if order.is_le() {
            self.old.enter();
        }
        if order.is_ge() {
            self.new.enter();
        }
    }
}

impl<'a, K: Ord, V: PartialEq> Iterator for Diff<'a, K, V> {
    type Item = Change<&'a K, &'a V>;

    fn next(&mut self) -> Option<Change<&'a K, &'a V>> {
        loop {
            match (self.old.0.last(), self.new.0.last()) {
                (None, None) => return None,
                (Some(Part::Entries(_)), None) => return Some(self.removed()),
                (None, Some(Part::Entries(_))) => return Some(self.added()),
                (Some(Part::Tree(..)), None) => self.old.enter(),
                (None, Some(Part::Tree(..))) => self.new.enter(),
                (Some(Part::Tree(.., a)), Some(Part::Tree(.., b))) => {
                    if Arc::ptr_eq(a, b) {
                        self.old.0.pop();
                        self.new.0.pop();
                    } else {
                        self.enter_one();
                    }
                }
                (Some(Part::Entries(entries)), Some(Part::Tree(first, ..))) => {
                    match first.is_some_and(|first| entries[0].0 < *first) {
                        true => return Some(self.removed()),
                        false => self.new.enter(),
                    }
                }
                (Some(Part::Tree(first, ..)), Some(Part::Entries(entries))) => {
                    match first.is_some_and(|first| entries[0].0 < *first) {
                        true => return Some(self.added()),
                        false => self.old.enter(),
                    }
                }
                (Some(Part::Entries(a)), Some(Part::Entries(b))) => match a[0].0.cmp(&b[0].0) {
                    std::cmp::Ordering::Less => return Some(self.removed()),
                    std::cmp::Ordering::Greater => return Some(self.added()),
                    std::cmp::Ordering::Equal => {
                        let ((key, old), (_, new)) = (self.old.take(), self.new.take());
                        if old != new {
                            return Some(Change { key, old: Some(old), new: Some(new) });
                        }
                    }
                },
            }
        }
    }
}
