use std::borrow::Borrow;
use std::sync::Arc;

/// Children of a branch, and entries of a leaf with counted values: copying a node touches the counter
/// of each, which lies somewhere else in memory.
const FEW: usize = 16;
/// Entries of a leaf of a set: copying it is one copy of memory.
const MANY: usize = 64;
/// Room that a vector gets when it is full, instead of doubling.
const SPARE: usize = 4;

/// A node of the tree. All leaves are at the same depth; no node is empty.
#[derive(Clone)]
pub(super) enum Node<K, V> {
    /// Entries by ascending key.
    Leaf(Vec<(K, V)>),
    /// Children by ascending key. The key with a child is not above any key in it and above every key
    /// in the children before.
    Branch(Vec<(K, Arc<Node<K, V>>)>),
}

pub(super) enum Inserted<K, V> {
    Replaced(V),
    Added,
    /// The node was full: its upper part is a node of its own now, which begins at the key.
    Split(K, Arc<Node<K, V>>),
}

/// Where `key` is or belongs among entries.
fn find<K: Borrow<Q>, Q: Ord + ?Sized, V>(entries: &[(K, V)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|(it, _)| it.borrow().cmp(key))
}

/// The child in which `key` is or belongs.
pub(super) fn child<K: Borrow<Q>, Q: Ord + ?Sized, V>(children: &[(K, V)], key: &Q) -> usize {
    children.partition_point(|(first, _)| first.borrow() <= key).saturating_sub(1)
}

/// Inserts without doubling the vector.
fn insert_at<T>(list: &mut Vec<T>, at: usize, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(SPARE);
    }
    list.insert(at, item);
}

/// Cuts a list that has become too long. What came in ascending order is cut at its end and stays
/// full; everything else is halved.
fn cut<T>(list: &mut Vec<T>, inserted_at: usize) -> Vec<T> {
    let at = match inserted_at + 1 == list.len() {
        true => list.len() - 1,
        false => list.len() / 2,
    };
    let upper = list.split_off(at);
    list.shrink_to_fit();
    upper
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    const LEAF_MAX: usize = if size_of::<V>() == 0 { MANY } else { FEW };
    const BRANCH_MAX: usize = FEW;

    pub(super) fn leaf_of(key: K, value: V) -> Node<K, V> {
        Node::Leaf(vec![(key, value)])
    }

    /// A new root; `None` only if `left` is empty, which no node is.
    pub(super) fn branch_of(
        left: Arc<Node<K, V>>,
        first: K,
        right: Arc<Node<K, V>>,
    ) -> Option<Node<K, V>> {
        let of_left = left.first_key()?.clone();
        Some(Node::Branch(vec![(of_left, left), (first, right)]))
    }

    /// A key not above any in the node.
    fn first_key(&self) -> Option<&K> {
        match self {
            Node::Leaf(entries) => entries.first().map(|(key, _)| key),
            Node::Branch(children) => children.first().map(|(key, _)| key),
        }
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Branch(children) => children.len(),
        }
    }

    fn max(&self) -> usize {
        match self {
            Node::Leaf(_) => Self::LEAF_MAX,
            Node::Branch(_) => Self::BRANCH_MAX,
        }
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(entries) => return find(entries, key).ok().map(|at| &entries[at].1),
                Node::Branch(children) => node = &children[child(children, key)].1,
            }
        }
    }

    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Node::Leaf(entries) => find(entries, key).ok().map(|at| &mut entries[at].1),
            Node::Branch(children) => {
                let at = child(children, key);
                Arc::make_mut(&mut children[at].1).get_mut(key)
            }
        }
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Inserted<K, V> {
        match self {
            Node::Leaf(entries) => {
                let at = match find(entries, &key) {
                    Ok(at) => {
                        return Inserted::Replaced(std::mem::replace(&mut entries[at].1, value));
                    }
                    Err(at) => at,
                };
                insert_at(entries, at, (key, value));
                if entries.len() <= Self::LEAF_MAX {
                    return Inserted::Added;
                }
                let upper = cut(entries, at);
                Inserted::Split(upper[0].0.clone(), Arc::new(Node::Leaf(upper)))
            }
            Node::Branch(children) => {
                let at = child(children, &key);
                if key < children[at].0 {
                    children[at].0 = key.clone();
                }
                let inserted = Arc::make_mut(&mut children[at].1).insert(key, value);
                let Inserted::Split(first, right) = inserted else { return inserted };
                insert_at(children, at + 1, (first, right));
                if children.len() <= Self::BRANCH_MAX {
                    return Inserted::Added;
                }
                let upper = cut(children, at + 1);
                Inserted::Split(upper[0].0.clone(), Arc::new(Node::Branch(upper)))
            }
        }
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Node::Leaf(entries) => {
                let at = find(entries, key).ok()?;
                Some(entries.remove(at).1)
            }
            Node::Branch(children) => {
                let at = child(children, key);
                let below = Arc::make_mut(&mut children[at].1);
                let value = below.remove(key)?;
                if below.len() == 0 {
                    children.remove(at);
                } else if below.len() < below.max() / 4 {
                    Self::join(children, at);
                }
                Some(value)
            }
        }
    }

    /// Joins the thin child at `at` with a neighbour, and halves the result if it is too long. A child
    /// without neighbours stays thin; it goes when its parent is joined or the root is cut off.
    fn join(children: &mut Vec<(K, Arc<Node<K, V>>)>, at: usize) {
        let left = at.saturating_sub(1);
        if left + 1 >= children.len() {
            return;
        }
        let (_, right) = children.remove(left + 1);
        let right = Arc::unwrap_or_clone(right);
        let upper = match (Arc::make_mut(&mut children[left].1), right) {
            (Node::Leaf(entries), Node::Leaf(more)) => {
                entries.extend(more);
                let too_long = entries.len() > Self::LEAF_MAX;
                too_long.then(|| Node::Leaf(cut(entries, 0)))
            }
            (Node::Branch(entries), Node::Branch(more)) => {
                entries.extend(more);
                let too_long = entries.len() > Self::BRANCH_MAX;
                too_long.then(|| Node::Branch(cut(entries, 0)))
            }
            _ => unreachable!("all leaves are at the same depth"),
        };
        if let Some(upper) = upper {
            let first = upper.first_key().expect("half of too many is not none").clone();
            children.insert(left + 1, (first, Arc::new(upper)));
        }
    }

    /// Of a branch with one child: the child, going down as long as this holds.
    pub(super) fn only_child(&self) -> Option<Arc<Node<K, V>>> {
        match self {
            Node::Branch(children) if children.len() == 1 => {
                Some(children[0].1.only_child().unwrap_or_else(|| Arc::clone(&children[0].1)))
            }
            _ => None,
        }
    }

    /// Depth and number of entries, with every rule of the tree asserted.
    pub(super) fn check(&self, is_root: bool) -> (usize, usize) {
        assert!(self.len() > 0 && self.len() <= self.max());
        match self {
            Node::Leaf(entries) => {
                assert!(entries.is_sorted_by(|(a, _), (b, _)| a < b));
                (0, entries.len())
            }
            Node::Branch(children) => {
                assert!(!is_root || children.len() > 1, "a root with one child is cut off");
                assert!(children.is_sorted_by(|(a, _), (b, _)| a < b));
                let mut sum = (0, 0);
                for (at, (first, node)) in children.iter().enumerate() {
                    assert!(node.first_key().is_some_and(|it| first <= it));
                    if let Some((next, _)) = children.get(at + 1) {
                        assert!(node.last_key().is_some_and(|it| it < next));
                    }
                    let (depth, count) = node.check(false);
                    assert!(at == 0 || depth == sum.0, "leaves at different depths");
                    sum = (depth, sum.1 + count);
                }
                (sum.0 + 1, sum.1)
            }
        }
    }

    fn last_key(&self) -> Option<&K> {
        match self {
            Node::Leaf(entries) => entries.last().map(|(key, _)| key),
            Node::Branch(children) => children.last()?.1.last_key(),
        }
    }
}
