# fish completion for hal0-budget
function __hal0_budget_complete
    set -l typed (commandline -cp)
    set -l last (commandline -ct)
    set -l answer (_TYPER_COMPLETE_ARGS="$typed" _HAL0_BUDGET_COMPLETE=complete_fish hal0-budget 2>/dev/null)
    set -l option (string match -r -- '^-[^=]*=' $last)
    switch "$answer[1]"
        case words
            string replace ' ' \t -- $answer[2..-1]
        case files
            string replace -r '^' -- "$option" (__fish_complete_path (string replace -- "$option" '' $last))
        case folders
            string replace -r '^' -- "$option" (__fish_complete_directories (string replace -- "$option" '' $last) '')
    end
end
complete -c hal0-budget -f -a '(__hal0_budget_complete)'
