//! The scripts. Each asks `rpc __complete` with the words up to the cursor.

/// The words are cut out of the line, since bash takes `:` and `=` for ends of words.
pub(super) const BASH: &str = r#"_rpc() {
  local words=() line
  read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
  [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=('')
  COMPREPLY=()
  while IFS=$'\t' read -r line _; do
    COMPREPLY+=("$line")
  done < <("${words[0]}" __complete -- "${words[@]}" 2>/dev/null)
}
complete -o default -F _rpc rpc"#;

/// `_describe` takes a word and what it is with `:` between them.
pub(super) const ZSH: &str = r#"#compdef rpc
_rpc() {
  local -a found
  found=("${(@f)$("${words[1]}" __complete -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
  found=("${(@)${(@)found:#}//$'\t'/:}")
  if (( $#found )); then
    _describe rpc found
  else
    _files
  fi
}
compdef _rpc rpc"#;

/// fish takes a word and what it is with a tab between them, as they come.
pub(super) const FISH: &str = r"function __rpc_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete -- $words 2>/dev/null
end
complete -c rpc -f -a '(__rpc_complete)'";
