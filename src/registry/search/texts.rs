//! The different texts of a field, each with its documents; found by equality, and by a pattern over all of them at once.
//!
//! Patterns are looked for in one buffer that holds every text in lower case, by their longest literal piece: it is read
//! from end to end at the speed of memory, where walking a hundred thousand strings would miss the caches for each.

use std::collections::HashMap;

use memchr::memmem::Finder;

use super::value::is_like;

/// Bytes of texts that are gone below which they are left in the buffer.
const GARBAGE_MIN: usize = 1 << 16;

/// See the file's comment.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Each text, and its position in `places`.
    known: HashMap<Box<str>, usize>,
    /// In the order of the buffer. A place without documents is of a text that is gone.
    places: Vec<Place>,
    /// The texts in lower case, with nothing between them.
    buffer: String,
    /// Bytes of the buffer that are of texts that are gone.
    garbage: usize,
}

/// One text.
#[derive(Debug)]
struct Place {
    start: usize,
    end: usize,
    /// Ascending.
    documents: Vec<u32>,
}

impl Texts {
    /// Says that `document` has `text`.
    pub(super) fn insert(&mut self, text: &str, document: u32) {
        let place = match self.known.get(text) {
            Some(place) => *place,
            None => {
                let start = self.buffer.len();
                self.buffer.extend(text.chars().flat_map(char::to_lowercase));
                self.places.push(Place { start, end: self.buffer.len(), documents: Vec::new() });
                self.known.insert(text.into(), self.places.len() - 1);
                self.places.len() - 1
            }
        };
        if let Some(place) = self.places.get_mut(place)
            && let Err(at) = place.documents.binary_search(&document)
        {
            place.documents.insert(at, document);
        }
    }

    /// Says that `document` no longer has `text`.
    pub(super) fn erase(&mut self, text: &str, document: u32) {
        let place = self.known.get(text).and_then(|place| self.places.get_mut(*place));
        let Some(place) = place else { return };
        if let Ok(at) = place.documents.binary_search(&document) {
            place.documents.remove(at);
        }
        if place.documents.is_empty() {
            self.garbage += place.end - place.start;
            self.known.remove(text);
            if self.garbage > GARBAGE_MIN && self.garbage > self.buffer.len() / 2 {
                self.sweep();
            }
        }
    }

    /// Whether there is no text.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The documents that have exactly `text`.
    pub(super) fn get(&self, text: &str) -> &[u32] {
        let place = self.known.get(text).and_then(|place| self.places.get(*place));
        place.map_or(&[], |place| &place.documents)
    }

    /// Hands the documents of every text that fits `pattern` to `found`, those of one text at a time.
    pub(super) fn like(&self, pattern: &str, mut found: impl FnMut(&[u32])) {
        let pattern: String = pattern.chars().flat_map(char::to_lowercase).collect();
        let piece = pattern.split(['*', '?']).max_by_key(|piece| piece.len()).unwrap_or_default();
        if piece.is_empty() {
            let fits = |place: &&Place| is_like(self.text(place), &pattern);
            self.places.iter().filter(fits).for_each(|place| found(&place.documents));
            return;
        }
        let is_enough = pattern.strip_prefix('*').and_then(|rest| rest.strip_suffix('*')) == Some(piece);
        let finder = Finder::new(piece);
        let (mut from, mut at) = (0, 0);
        while let Some(hit) = finder.find(self.buffer.as_bytes().get(from..).unwrap_or_default()) {
            let hit = from + hit;
            let rest = self.places.get(at..).unwrap_or_default();
            at += rest.partition_point(|place| place.end <= hit);
            let Some(place) = self.places.get(at) else { return };
            // A hit may reach into the next text.
            let is_whole = is_enough && hit + piece.len() <= place.end;
            if is_whole || is_like(self.text(place), &pattern) {
                found(&place.documents);
            }
            from = place.end;
        }
    }

    fn text(&self, place: &Place) -> &str {
        self.buffer.get(place.start..place.end).unwrap_or_default()
    }

    /// Takes out what is gone.
    fn sweep(&mut self) {
        let (old, buffer) = (std::mem::take(&mut self.places), std::mem::take(&mut self.buffer));
        self.buffer.reserve(buffer.len() - self.garbage);
        self.garbage = 0;
        let mut moved = vec![0; old.len()];
        for (before, place) in old.into_iter().enumerate().filter(|(_, place)| !place.documents.is_empty()) {
            moved[before] = self.places.len();
            let start = self.buffer.len();
            self.buffer.push_str(buffer.get(place.start..place.end).unwrap_or_default());
            self.places.push(Place { start, end: self.buffer.len(), ..place });
        }
        self.known.values_mut().for_each(|place| *place = moved[*place]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(texts: &Texts, pattern: &str) -> Vec<u32> {
        let mut all = Vec::new();
        texts.like(pattern, |documents| all.extend(documents));
        all.sort_unstable();
        all
    }

    #[test]
    fn pieces_do_not_reach_from_one_text_into_the_next() {
        let mut texts = Texts::default();
        for (document, text) in (0..).zip(["ab", "c", "", "abc", "ABC", "xabcx", "ÄB", "a*"]) {
            texts.insert(text, document);
        }
        assert_eq!(like(&texts, "*abc*"), [3, 4, 5]);
        assert_eq!(like(&texts, "abc"), [3, 4]);
        assert_eq!(like(&texts, "*bc"), [3, 4]);
        assert_eq!(like(&texts, "?b"), [0, 6]);
        assert_eq!(like(&texts, "äb*"), [6]);
        assert_eq!(like(&texts, "*"), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(like(&texts, "??"), [0, 6, 7]);
        assert_eq!(like(&texts, ""), [2]);
        assert_eq!((texts.get("abc"), texts.get("Abc")), (&[3][..], &[][..]));
    }

    #[test]
    fn what_is_gone_is_not_found_and_makes_room() {
        let mut texts = Texts::default();
        let text = |n: u32| format!("a text that is number {n:06}");
        (0..10_000).for_each(|n| texts.insert(&text(n), n));
        texts.insert(&text(1), 77_777);
        let full = texts.buffer.len();
        (0..9_990).for_each(|n| texts.erase(&text(n), n));
        assert!(texts.buffer.len() < full / 2, "{} of {full}", texts.buffer.len());
        assert_eq!(like(&texts, "*number 00000?"), [77_777]);
        assert_eq!(like(&texts, "*number*").len(), 11);
        assert_eq!((texts.get(&text(9_995)), texts.get(&text(1))), (&[9_995][..], &[77_777][..]));
        (9_990..10_000).for_each(|n| texts.erase(&text(n), n));
        texts.erase(&text(1), 77_777);
        assert!(texts.is_empty() && like(&texts, "*").is_empty());
        texts.insert("again", 1);
        assert_eq!(like(&texts, "*gai*"), [1]);
    }
}
