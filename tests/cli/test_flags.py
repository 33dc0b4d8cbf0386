"""Texts of the library, which name Python arguments, as the command line shows them."""

from __future__ import annotations

import json
import shlex

import pytest
import typer
from error_texts import converting, named_arguments

import ssn_prune
from ssn_prune.cli.app import app
from ssn_prune.cli.exit_codes import EXIT_CODES, exit_code
from ssn_prune.cli.flags import COMMANDS, FLAGS, with_flags
from ssn_prune.errors import SsnPruneError

# Arguments of convert that no option sets; texts that name them are shown as they are.
NO_OPTION = {"input_names"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pass `static_batch=4`", "pass --static-batch 4"),
        ("pass `input_size=(3, 224, 224)`", "pass --input-size 3x224x224"),
        ("`input_size=((3, 8, 8), (1, 8, 8))`", "--input-size 3x8x8,1x8x8"),
        ("pass `input_size=`, please", "pass --input-size, please"),
        ("`mean=(0.5, 0.4, 1)`", "--mean 0.5,0.4,1"),
        ("`std=0.5`", "--std 0.5"),
        ("`input_size=(3, H, W)`", "--input-size (3, H, W)"),
        ("`on_unconverged='exact'` or 'argmax'", "--on-unconverged exact or 'argmax'"),
        ("`force=True`", "--force"),
        ("`fold=False`", "--no-fold"),
        ("`arch='a.b:C'`", "--arch a.b:C"),
        ("`preprocessing='two words'`", "--preprocessing 'two words'"),
        ("`arch_args={'num_classes': 10}`", "--arch-args '{\"num_classes\": 10}'"),
        ("`static_batch=1` and `dynamic='spatial'`", "--static-batch 1 and --dynamic spatial"),
        ("pass `algebra=False`", "pass --verify rounding"),
        ("pass `rounding=False`", "pass --verify algebra"),
        ("what `select(model)` finds", "what ssn-prune inspect CKPT --json finds"),
        ("build it with `shared_gate=False`", "build it with `shared_gate=False`"),
        ("a `word` stays", "a `word` stays"),
        ("static_batch=4 without backticks", "static_batch=4 without backticks"),
    ],
)
def test_arguments_become_options(text: str, expected: str) -> None:
    assert with_flags(text) == expected


def test_a_shell_reads_the_arguments_back() -> None:
    option, value = shlex.split(with_flags("""`arch_args={'name': "it's"}`"""))
    assert (option, json.loads(value)) == ("--arch-args", {"name": "it's"})


def options_of_all_commands() -> set[str]:
    commands = typer.main.get_command(app).commands.values()
    options = [option for command in commands for option in command.params]
    return {text for option in options for text in (*option.opts, *option.secondary_opts)}


def test_every_flag_in_the_table_exists() -> None:
    options = options_of_all_commands()
    assert set(FLAGS.values()) <= options
    for line in COMMANDS.values():
        assert {word for word in line.split() if word.startswith("--")} <= options


def test_every_flag_in_the_table_is_an_argument_of_the_library() -> None:
    assert set(FLAGS) <= converting()


def test_every_argument_of_the_commands_that_a_text_names_has_a_flag() -> None:
    named = set(named_arguments()) & converting()
    values = {call.partition("=")[0] for call in COMMANDS}
    assert named - FLAGS.keys() - values <= NO_OPTION


def test_every_error_has_an_exit_code() -> None:
    expected = {"ArgumentError": 2, "VerificationError": 3, "UnconvergedGatesError": 4}
    for name in ssn_prune.__all__:
        kind = getattr(ssn_prune, name)
        if isinstance(kind, type) and issubclass(kind, SsnPruneError):
            assert exit_code(kind.__new__(kind)) == expected.get(name, 1)
    assert set(EXIT_CODES.values()) == {1, 2, 3, 4}


def test_a_subclass_has_the_exit_code_of_its_base() -> None:
    class Special(ssn_prune.VerificationError):
        pass

    assert exit_code(Special("off", layer=None, expected="", found="")) == 3
