# bash completion for hal0-budget
_hal0_budget() {
  local line kind=
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ -z $kind ]]; then kind=$line; else COMPREPLY+=("${line%% *}"); fi
  done < <(hal0-budget completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$2" 2>/dev/null)
  case $kind in
    files) compopt -o default ;;
    folders) compopt -o dirnames ;;
  esac
}
complete -F _hal0_budget hal0-budget
