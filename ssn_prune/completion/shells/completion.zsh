#compdef ssn-prune
# ssn-prune: completion for zsh.
# Put this into ~/.zshrc, after compinit:  source <(ssn-prune completion zsh)

_ssn_prune() {
    local -a answer found shown open
    local entry
    answer=("${(@f)$("$words[1]" __complete "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    if [[ $answer[1] == files ]]; then
        compset -P '--*='
        _files
        return
    fi
    for entry in "${(@)answer[2,-1]}"; do
        if [[ $entry == *: ]]; then
            open+=("$entry")
        else
            found+=("${entry%%$'\t'*}")
            shown+=("${entry/$'\t'/  -- }")
        fi
    done
    (( $#open )) && compadd -S '' -- $open
    (( $#found )) && compadd -l -d shown -- $found
}
compdef _ssn_prune ssn-prune
