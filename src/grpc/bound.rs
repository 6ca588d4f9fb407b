//! How much a peer may send: in all, or in each message of those that it goes on sending. Knows how gRPC
//! frames messages, and nothing of what is in them.

/// Before each message: a flag and its length, big-endian.
const HEAD_BYTES: usize = 5;

/// What is left of what may come.
#[derive(Debug)]
pub(super) enum Bound {
    /// So many bytes.
    All { left: usize },
    /// Of each message so many: what has come of its head, then what has yet to come of the rest.
    Each { most: usize, head: Vec<u8>, rest: usize },
}

impl Bound {
    /// For one message.
    pub(super) fn all(most: usize) -> Self {
        Self::All { left: most + HEAD_BYTES }
    }

    /// For any number of them.
    pub(super) fn each(most: usize) -> Self {
        Self::Each { most, head: Vec::with_capacity(HEAD_BYTES), rest: 0 }
    }

    /// Takes in what came next; whether it was not too much.
    pub(super) fn admits(&mut self, mut data: &[u8]) -> bool {
        match self {
            Self::All { left } => match left.checked_sub(data.len()) {
                Some(less) => *left = less,
                None => return false,
            },
            Self::Each { most, head, rest } => {
                while !data.is_empty() {
                    if *rest > 0 {
                        let taken = data.len().min(*rest);
                        *rest -= taken;
                        data = &data[taken..];
                        continue;
                    }
                    let (taken, later) = data.split_at(data.len().min(HEAD_BYTES - head.len()));
                    head.extend_from_slice(taken);
                    data = later;
                    if let [_, length @ ..] = head.as_slice()
                        && let Ok(length) = <[u8; 4]>::try_from(length)
                    {
                        *rest = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                        head.clear();
                        if *rest > *most {
                            return false;
                        }
                    }
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(u32::try_from(length).expect("short").to_be_bytes());
        message.resize(HEAD_BYTES + length, 7);
        message
    }

    #[test]
    fn one_message_is_bounded_by_all_that_comes() {
        let mut bound = Bound::all(10);
        assert!(bound.admits(&message(10)));
        assert!(!bound.admits(&[0]));
    }

    #[test]
    fn each_of_many_is_bounded_however_it_is_cut() {
        for piece in [1, 3, 5, 7, 1_000] {
            let mut bound = Bound::each(10);
            let many: Vec<u8> = [10, 0, 3, 10, 10].into_iter().flat_map(message).collect();
            assert!(many.chunks(piece).all(|piece| bound.admits(piece)), "pieces of {piece}");
            assert!(!message(11).chunks(piece).all(|piece| bound.admits(piece)), "pieces of {piece}");
        }
    }
}
