"""The one command, `viralload`: parses, calls, and maps every error to an exit code.

    0    pass                      3    the run is INVALID
    1    error                     99   a threshold failed
    2    usage or configuration    130  interrupted

stdout carries the result, stderr the progress.
"""

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import msgspec

from loadtest.cli import capacity as capacity_verb
from loadtest.cli import ledger as ledger_verb
from loadtest.cli import unused_options
from loadtest.cli.overrides import pairs, scenario_of, settings_of
from loadtest.cli.parser import parser
from loadtest.cli.target_options import credentials_of_worker, target_of
from loadtest.distributed.gather import Workers
from loadtest.distributed.handshake import MASTER_PORT, TOKEN_ENV
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.plan import gates
from loadtest.plan.plan import Node, demand, make_plan, needs_capacity
from loadtest.plan.source import load_source
from loadtest.plan.text import UNBROKEN, plan_text
from loadtest.scenario import scenario as scenarios
from loadtest.scenario.prompts import load_texts
from loadtest.scenario.scenario import Scenario
from loadtest.search import goal
from loadtest.system import charts_installed, output
from loadtest.system.child_environment import environ, python, set_home
from loadtest.system.output import OutputError
from loadtest.system.terminal import Terminal, complain, show
from loadtest.units import parse_duration
from profiles import edge
from profiles.capacity.bill import bill_of
from profiles.capacity.prices import built_in, choose
from profiles.record.columns import read
from profiles.record.folder import RunError, RunFolder
from profiles.report.text.run import WIDTH, summary_text
from profiles.report.text.sample import sampled_text
from profiles.report.text.search import find_text
from profiles.schema import FindResult, Summary
from profiles.search.result import exit_code as find_exit_code
from profiles.search.result import find
from profiles.summary.run import summarize, verdict_exit_code
from profiles.summary.sample import Sampled, is_sampled, summarize_sampled

INTERRUPTED_EXIT_CODE = 130
WITHOUT_RESULT = ("serve", "worker")  # verbs that need no stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with output.guarded() as (out, _):
        set_home()
        try:
            code = _command(words, is_closed=out.real is None)
            out.flush()
        except SystemExit:  # argparse has said what is wrong, or printed its help
            with contextlib.suppress(OutputError):
                out.flush()
            raise
        except KeyboardInterrupt:
            code = INTERRUPTED_EXIT_CODE
        except (ViralloadError, RunError, OutputError) as err:
            code = _fail(err, edge.hide(edge.printable(str(err)), _secrets(words)))
        except Exception as err:  # noqa: BLE001 - the edge: there is nobody above
            code = _fail(err, edge.in_words(err, _secrets(words)))
    return code


def _command(words: list[str], *, is_closed: bool) -> int:
    """Parse, check what holds for every verb, and call the verb."""
    for word in words:
        if not _is_text(word):
            raise ConfigurationError(
                f"{word!a} is no UTF-8: rename the file, or give its name in UTF-8"
            )
    if words[:1] == ["--worker"]:  # as Locust has it
        words = ["worker", *words[1:]]
    command_line = parser()
    if not words:
        command_line.print_help(sys.stderr)
        return ConfigurationError.exit_code
    options = command_line.parse_args(words)
    if is_closed and options.verb not in WITHOUT_RESULT:
        raise ConfigurationError(
            "standard output is closed, and that is where the result goes: send it to a file, or "
            "to /dev/null"
        )
    return VERBS[options.verb](options, ["viralload", *words])


def _fail(err: Exception, words: str) -> int:
    sys.stderr.write(f"error: {words}\n")
    return getattr(err, "exit_code", 1)


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _secrets(words: Sequence[str]) -> list[str | None]:
    """What must not be shown: the run's token, the key under any name, a password, headers."""
    names = [TOKEN_ENV, "OPENAI_API_KEY"]
    names += [after for word, after in itertools.pairwise(words) if word == "--key-env"]
    names += [word.partition("=")[2] for word in words if word.startswith("--key-env=")]
    told: list[str] = []
    given = [
        *itertools.pairwise(words),
        *(tuple(word.split("=", 1)) for word in words if "=" in word),
    ]
    for option, value in given:
        if option == "--header":
            told.append(value.partition(":")[2].strip())
        elif option == "--host" and "@" in value:
            user = value.rpartition("@")[0].rpartition("//")[2]
            told += [user, user.partition(":")[2]]
    return [*(os.environ.get(name) for name in names), *told]


def _run(options: argparse.Namespace, command: list[str]) -> int:
    from loadtest.driver import run as driver  # here, so that plans and reports start without it
    from loadtest.driver.prepare import Options

    unused_options.check_server(options)
    scenario, text, folder = scenario_of(options)
    _check_gates(options, scenario)
    capacity, basis = goal.capacity_of(options.capacity)
    crew = _workers(options)
    target = target_of(options, command)
    console = Terminal()
    price, price_basis = _price(options.gpu_price)
    try:
        run_folder, summary = driver.run(
            Options(
                scenario_text=text,
                scenario=scenario,
                folder=folder,
                command=target.command,
                out=options.out,
                label=options.label,
                labels=pairs(options.tag, "--tag"),
                host=target.host,
                credentials=target.credentials,
                fields=target.fields,
                given=unused_options.given(options),
                model=options.model,
                settings=settings_of(options),
                port=options.port,
                capacity=capacity,
                capacity_basis=basis,
                capacity_mix=goal.mix_asked(options.capacity),
                processes=options.processes,
                workers=crew,
                web_port=options.web,
                metrics_port=options.metrics_port,
                gpu_price_usd_per_h=price,
                gpu_price_basis=price_basis,
                carbon_g_per_kwh=options.carbon,
            ),
            console,
        )
    except driver.Interrupted as stop:
        complain(f"interrupted: {stop}")
        return INTERRUPTED_EXIT_CODE
    ledger_verb.note(run_folder, summary)
    _tell_summary(options, run_folder, summary)
    return verdict_exit_code(summary)


def _check_gates(options: argparse.Namespace, scenario: Scenario) -> None:
    """Ask back where a threshold can never fail; a timeout that was asked for is only warned of."""
    found = gates.cannot_fail(scenario)
    if found and options.timeout is None:
        raise ConfigurationError(f"scenario: {found[0]}")
    sys.stderr.write("".join(f"warning: {said}\n" for said in found))


def _workers(options: argparse.Namespace) -> Workers | None:
    """The workers on other machines that the command line asks for."""
    host, port = options.master_bind_host, options.master_bind_port
    if options.expect_workers is None:
        waits = options.expect_workers_max_wait is not None
        if (host, port) != ("127.0.0.1", MASTER_PORT) or waits:
            raise ConfigurationError(
                "--master-bind-host, --master-bind-port and --expect-workers-max-wait are for "
                "workers on other machines: say how many with --expect-workers N"
            )
        return None
    if options.processes != 1:
        raise ConfigurationError(
            "--processes is of this machine, which sends nothing where workers are expected: give "
            "it to `viralload worker`"
        )
    wait_s = _duration(options.expect_workers_max_wait or "5min", "--expect-workers-max-wait")
    return Workers(count=options.expect_workers, host=host, port=port, wait_s=wait_s)


def _worker(options: argparse.Namespace, _command: list[str]) -> int:
    from loadtest.distributed.worker import work

    host, port = options.master
    wait_s = _duration(options.wait, "--wait")
    console = Terminal()
    credentials, target = credentials_of_worker(options)
    return work(host, port, options.processes, wait_s, credentials, console, target)


def _price(stated: float | None) -> tuple[float, str]:
    """$ a GPU-hour and its basis: as stated, or what `viralload capacity` reckons with too."""
    if stated is not None:
        return stated, "stated with --gpu-price"
    bill = bill_of(choose(built_in()))
    return bill.usd_per_gpu_h, f"{bill.stand}: {bill.source}"


def _duration(text: str, option: str) -> float:
    try:
        return float(parse_duration(text))
    except ValueError as err:
        raise ConfigurationError(f"{option}: {err}") from err


def _find(options: argparse.Namespace, command: list[str]) -> int:
    from loadtest.driver import run as driver
    from loadtest.driver.prepare import Options
    from loadtest.search import find as finder

    unused_options.check_server(options)
    scenario, text, folder = goal.scenario_of(options)
    asked = goal.goal_of(options, scenario)
    price, price_basis = _price(None)
    target = target_of(options, command)
    wanted = Options(
        scenario_text=text,
        scenario=scenario,
        folder=folder,
        command=target.command,
        out=options.out,
        label=options.label or "find",
        host=target.host,
        credentials=target.credentials,
        fields=target.fields,
        model=options.model,
        settings=settings_of(options),
        port=options.port,
        processes=options.processes,
        gpu_price_usd_per_h=price,
        gpu_price_basis=price_basis,
    )
    finder.check(asked, wanted)
    try:
        run_folder, result = finder.run(wanted, asked, Terminal())
    except driver.Interrupted as stop:
        complain(f"interrupted: {stop}")
        return INTERRUPTED_EXIT_CODE
    return _tell_found(options, run_folder, result)


def _tell_found(options: argparse.Namespace, folder: RunFolder, result: FindResult) -> int:
    if options.json:
        sys.stdout.write(_json(result))
    else:
        show(find_text(result))
        _tell_report(folder)
    return find_exit_code(result)


def _tell_report(folder: RunFolder) -> None:
    """Where the report is, or where it can be made."""
    if folder.report_path.is_file():
        show(f"\nreport  {folder.report_path}\n")
    else:
        show(f"\nrun     {folder.path}\n")


def _plan(options: argparse.Namespace, _command: list[str]) -> int:
    scenario, _, folder = scenario_of(options)
    _check_gates(options, scenario)
    source = load_source(scenario, folder)
    load_texts(scenario.request.prompts, folder)
    capacity, basis = goal.capacity_of(options.capacity)
    relative = needs_capacity(scenario) and capacity is None
    node = Node(
        gpus=options.gpus,
        capacity_images_per_s=1.0 if relative else capacity,
        capacity_basis=basis,
    )
    unused_options.check_scenario(unused_options.given(options), scenario, source)
    plan, _ = make_plan(scenario, source, node)
    show(
        plan_text(
            scenario,
            source,
            plan,
            demand(scenario, source),
            relative,
            width=output.width(UNBROKEN),
        )
    )
    return 0


def _report(options: argparse.Namespace, _command: list[str]) -> int:
    try:
        folder = RunFolder.open(options.run)
    except RunError as err:
        raise ConfigurationError(str(err)) from err
    if is_sampled(folder.manifest()):
        return _tell_sampled(summarize_sampled(read(folder)), folder, options.json)
    missing = charts_installed.absent()
    if missing is not None:
        raise ViralloadError(
            f"a report cannot be drawn without {missing}: pip install it, or draw the report of "
            f"{folder.path} on another machine"
        )
    if folder.manifest().search is not None:
        from profiles.report.html.search import write_find_report

        result = find(folder)
        with _shown_all_the_same():
            folder.write_find(result)
            write_find_report(folder, result)
        _tell_found(options, folder, result)
        return 0
    from profiles.report.html.run import write_report

    summary = summarize(folder)
    with _shown_all_the_same():
        folder.write_summary(summary)
        write_report(folder)
    _tell_summary(options, folder, summary)
    return 0


@contextlib.contextmanager
def _shown_all_the_same() -> Iterator[None]:
    """A result is told where it cannot be written, and that it was not."""
    try:
        yield
    except RunError as err:
        sys.stderr.write(f"warning: nothing was written: {edge.printable(str(err))}\n")


def _tell_summary(options: argparse.Namespace, folder: RunFolder, summary: Summary) -> None:
    if options.json:
        sys.stdout.write(_json(summary))
        return
    sys.stdout.write(summary_text(summary, folder.manifest(), width=output.width(WIDTH)))
    _tell_report(folder)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode() + "\n"


def _serve(options: argparse.Namespace, _command: list[str]) -> NoReturn:
    settings = settings_of(options)
    for name in ("model", "port"):
        if getattr(options, name) is not None:
            settings[name] = getattr(options, name)
    if options.host is not None:
        settings["host"] = options.host
    command = python("serve.app", "--settings", msgspec.json.encode(settings).decode())
    os.execve(command[0], command, environ())  # so that signals reach the server itself


def _doctor(options: argparse.Namespace, _command: list[str]) -> int:
    from loadtest.doctor.diagnosis import diagnose
    from loadtest.doctor.text import doctor_text

    sys.stderr.write("measuring, a few seconds a device\n")
    found = diagnose(device=options.device, threads=options.threads, runs=options.out)
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        show(doctor_text(found))
    return 1 if found.checkup.failure else 0


def _sample(options: argparse.Namespace, command: list[str]) -> int:
    from loadtest.driver.sample import SampleOptions, sample

    told = SampleOptions(
        command=command,
        out=options.out,
        label=options.label,
        hz=options.hz,
        gpus=options.gpu,
        pid=options.pid,
        for_s=options.duration,
        metrics_port=options.metrics_port,
    )
    folder, found = sample(told, Terminal())
    return _tell_sampled(found, folder, options.json)


def _tell_sampled(found: Sampled, folder: RunFolder, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        show(f"{sampled_text(found)}\nreadings  {folder.path}\n")
    return 0


def _fleet(options: argparse.Namespace, command: list[str]) -> int:
    from loadtest.block.simulate import simulate_scenario, write
    from profiles.report.text.fleet import fleet_text

    told = (options.compress_to, options.compression)
    if told == (None, None):
        options.real_time = True  # a block is simulated in the event's own time
    scenario, _, folder = scenario_of(options)
    played, needed = simulate_scenario(options, scenario, load_source(scenario, folder))
    report = write(played, needed, options.out, command)
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(played)).decode() + "\n")
    else:
        show(f"{fleet_text(played, needed)}\nreport      {report}\n")
    return 0


def _list(_options: argparse.Namespace, _command: list[str]) -> int:
    for name in scenarios.builtin_names():
        scenario = scenarios.parse_scenario(scenarios.scenario_text(name)[0])
        show(f"{name:14} {scenario.title}\n")
    return 0


VERBS: dict[str, Callable[[argparse.Namespace, list[str]], int]] = {
    "run": _run,
    "find": _find,
    "plan": _plan,
    "report": _report,
    "serve": _serve,
    "sample": _sample,
    "doctor": _doctor,
    "worker": _worker,
    "capacity": capacity_verb.capacity,
    "ledger": ledger_verb.scored,
    "fleet": _fleet,
    "scenarios": _list,
}
