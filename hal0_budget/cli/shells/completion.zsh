#compdef hal0-budget
_hal0_budget() {
  local -a before answer candidates
  (( CURRENT > 2 )) && before=("${(@Q)words[2,CURRENT-1]}")
  answer=("${(@f)$(hal0-budget completion zsh -- "${before[@]}" "${(Q)PREFIX}" 2>/dev/null)}")
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
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _hal0_budget "$@"
else
  compdef _hal0_budget hal0-budget
fi
