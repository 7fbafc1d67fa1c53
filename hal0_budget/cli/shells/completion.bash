# bash completion for hal0-budget
_hal0_budget() {
  local IFS=$' \t\n' line kind=
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ -z $kind ]]; then kind=$line; else COMPREPLY+=("${line%% *}"); fi
  done < <(COMP_WORDS="${COMP_WORDS[*]:0:COMP_CWORD} $2" COMP_CWORD="$COMP_CWORD" \
    _HAL0_BUDGET_COMPLETE=complete_bash hal0-budget 2>/dev/null)
  case $kind in
    files) compopt -o default ;;
    folders) compopt -o dirnames ;;
  esac
}
complete -F _hal0_budget hal0-budget
