//! The name that was meant.

/// The known name that is most like this one, as the end of a message: `; did you mean "url"?`. Empty if none is known.
pub(crate) fn did_you_mean<'k>(unknown: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let likeness = |name: &&str| strsim::jaro_winkler(unknown, name);
    let nearest = known
        .into_iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    nearest
        .map(|name| format!("; did you mean \"{name}\"?"))
        .unwrap_or_default()
}
