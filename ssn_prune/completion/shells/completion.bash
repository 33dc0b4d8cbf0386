# ssn-prune: completion for bash.
# Put this into ~/.bashrc:  source <(ssn-prune completion bash)

_ssn_prune() {
    local line="${COMP_LINE:0:COMP_POINT}" kind word
    local current="${line##*[[:space:]]}"
    # bash takes : and = for the ends of words, and replaces what follows the last of them.
    local before="${current%"${current##*[:=]}"}"
    COMPREPLY=()
    {
        read -r kind || return
        while IFS=$'\t' read -r word _; do
            COMPREPLY+=("${word#"$before"}")
        done
    } < <("$1" __complete "$line" 2>/dev/null)
    if [[ $kind == files ]]; then
        compopt -o default 2>/dev/null # the shell's own names of files
    elif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _ssn_prune ssn-prune
