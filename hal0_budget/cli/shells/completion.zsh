#compdef hal0-budget
_hal0-budget() {
  local -a answer candidates
  answer=("${(@f)$(_TYPER_COMPLETE_ARGS="${words[1,CURRENT-1]} $PREFIX" \
    _HAL0_BUDGET_COMPLETE=complete_zsh hal0-budget 2>/dev/null)}")
  [[ $answer[1] == words ]] || compset -P '-*='
  case $answer[1] in
    words)
      candidates=("${(@)answer[2,-1]/ /:}")
      (( $#answer > 1 )) && _describe hal0-budget candidates
      ;;
    files) _files ;;
    folders) _files -/ ;;
  esac
}
if [[ $funcstack[1] == _hal0-budget ]]; then
  _hal0-budget "$@"
else
  compdef _hal0-budget hal0-budget
fi
