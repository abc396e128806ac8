//! The hashes by which the entries of a batch are told from others.

use rpc_core::Fingerprint;
use rpc_core::api::log::{AppendRef, FieldsRef};

/// A hash of entries in their order: of what they say, whatever JSON they were sent as.
///
/// It is in the files, so that it must stay as it is. It takes 16 bytes with one multiplication, as wyhash does: an FNV
/// hash takes a byte, and was the half of what a batch cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct EntriesHash(u64);

/// Digits of pi: texts that cancel one of them out are as unlikely as any others.
const KEYS: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// In place of the length of a text, or of a time, that an entry does not have.
const MISSING: u64 = u64::MAX;

impl Default for EntriesHash {
    fn default() -> Self {
        Self(KEYS[0])
    }
}

impl EntriesHash {
    pub(in crate::store) fn add(&mut self, entry: &AppendRef<'_>) {
        self.add_text(Some(entry.level.as_str()));
        self.mix(entry.ts.unwrap_or(MISSING), 0);
        self.add_text(Some(&entry.service));
        self.add_text(Some(&entry.message));
        self.add_text(entry.trace.as_deref());
        self.add_text(entry.fields.as_ref().map(FieldsRef::as_str));
    }

    pub(in crate::store) fn number(self) -> u64 {
        self.0
    }

    /// Adds a text behind its length, which tells it from the texts around it.
    fn add_text(&mut self, text: Option<&str>) {
        let bytes = text.unwrap_or_default().as_bytes();
        self.mix(text.map_or(MISSING, |text| text.len() as u64), 0);

        let (blocks, rest) = bytes.as_chunks();
        for block in blocks {
            self.add_block(block);
        }
        if !rest.is_empty() {
            let mut block = [0; 16];
            block[..rest.len()].copy_from_slice(rest);
            self.add_block(&block);
        }
    }

    fn add_block(&mut self, block: &[u8; 16]) {
        let [low, high] = halves(u128::from_le_bytes(*block));
        self.mix(low, high);
    }

    fn mix(&mut self, one: u64, other: u64) {
        let product = u128::from(self.0 ^ one) * u128::from(KEYS[1] ^ other);
        let [low, high] = halves(product);
        self.0 = low ^ high;
    }
}

/// The hash of the entries of a batch in files of older versions: of their text as it was sent.
pub(in crate::store) fn text_hash(text: &str) -> u64 {
    folded(Fingerprint::of(text.as_bytes()))
}

/// Half of the bits of a fingerprint, which depend on all of it.
pub(super) fn folded(fingerprint: Fingerprint) -> u64 {
    let [low, high] = halves(fingerprint.number());
    low ^ high
}

fn halves(number: u128) -> [u64; 2] {
    let bytes = number.to_le_bytes();
    let (halves, _) = bytes.as_chunks();
    [halves[0], halves[1]].map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use rpc_core::api::log::Append;

    use super::*;

    fn hash(entries: &[&str]) -> u64 {
        let mut hash = EntriesHash::default();
        for entry in entries {
            let entry: Append = serde_json::from_str(entry).expect(entry);
            hash.add(&AppendRef::from(&entry));
        }
        hash.number()
    }

    #[test]
    fn the_hash_is_of_what_entries_say_and_stays_what_it_is() {
        let entry = r#"{"level":"info","service":"order","message":"paid","ts":7,"trace":"t","fields":{"a":1.50}}"#;
        let spaced = r#"{ "fields":{"a":1.50}, "trace":"t","message":"p\u0061id","ts":7,"service":"order","level":"info"}"#;
        assert_eq!(hash(&[entry]), hash(&[spaced]));

        // It is in files.
        assert_eq!(hash(&[]), 0x243f_6a88_85a3_08d3);
        assert_eq!(hash(&[entry]), 0xcd5d_febf_59af_c124);
    }

    #[test]
    fn entries_that_differ_in_anything_have_different_hashes() {
        let entry = |members: &str| format!(r#"{{"level":"info",{members}}}"#);
        let long = "x".repeat(16);
        let members = [
            r#""service":"a","message":"b""#.to_owned(),
            r#""service":"","message":"ab""#.to_owned(),
            r#""service":"ab","message":"""#.to_owned(),
            r#""service":"a","message":"b","trace":"""#.to_owned(),
            r#""service":"a","message":"b","trace":"c""#.to_owned(),
            r#""service":"a","message":"b","fields":{}"#.to_owned(),
            r#""service":"a","message":"b","fields":{"n":1}"#.to_owned(),
            r#""service":"a","message":"b","fields":{"n":1.0}"#.to_owned(),
            r#""service":"a","message":"b","ts":0"#.to_owned(),
            r#""service":"a","message":"b","ts":1"#.to_owned(),
            r#""service":"a","message":"b\u0000""#.to_owned(),
            format!(r#""service":"a","message":"{long}""#),
            format!(r#""service":"a","message":"{long}\u0000""#),
        ];
        let mut hashes: Vec<u64> = members.iter().map(|one| hash(&[&entry(one)])).collect();

        let (one, other) = (entry(&members[0]), entry(&members[1]));
        let warn = r#"{"level":"warn","service":"a","message":"b"}"#;
        let others: [&[&str]; 5] = [
            &[],
            &[warn],
            &[&one, &one],
            &[&one, &other],
            &[&other, &one],
        ];
        hashes.extend(others.map(hash));

        let all = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
    }
}
