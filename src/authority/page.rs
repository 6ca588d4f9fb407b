//! Part of a list that a caller reads in pages.

/// Some of a list.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a, T> {
    /// At most as many as were asked for.
    pub items: &'a [T],
    /// The last of them, if more follow.
    pub next: Option<&'a T>,
}

impl<'a, T> Page<'a, T> {
    /// What follows the one that is `last` of the page before. If that one has gone meanwhile, from the start: to
    /// see some twice is better than to miss one.
    pub fn after(list: &'a [T], last: impl Fn(&T) -> bool, size: usize) -> Self {
        let start = list.iter().position(last);
        let rest = &list[start.map_or(0, |position| position + 1)..];
        let items = &rest[..size.min(rest.len())];
        Self { items, next: if items.len() < rest.len() { items.last() } else { None } }
    }
}
