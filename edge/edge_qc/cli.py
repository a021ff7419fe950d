"""The command line of the device: `edge-qc` (CONTRACT.md)."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from edge_qc import __version__
from edge_qc.config import SHORT_NAMES, Config, load_config
from edge_qc.errors import ConfigError, EdgeQcError
from edge_qc.observe.logs import set_up_logs

log = logging.getLogger(__name__)

DONE, FAULT, WRONG_USE = 0, 1, 2
TO_USE_IT = "restart edge-qc, or send it the command `reload`, to use it"


class _DefaultsToRun(click.Group):
    """`edge-qc --source X` means `edge-qc run --source X`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "-h", "--version")):
            args = ["run", *args]
        return super().parse_args(context, args)


def _options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The named ones of the options that commands share; their values reach the command as one Config."""
    offered = {
        "source": click.option("--source", metavar="SRC", help="Camera, folder, video, rtsp://…, or sim:"),
        "model": click.option("--model", metavar="BUNDLE", type=click.Path(path_type=Path), help="Bundle folder."),
        "broker": click.option("--broker", metavar="URL", help="mqtt://host:1883, mqtts://…, embedded: or none:"),
        "station": click.option("--station", metavar="NAME", help="Default line1/cam1."),
        "data_dir": click.option(
            "--data-dir", metavar="DIR", type=click.Path(path_type=Path), help="Records and pictures."
        ),
        "log_format": click.option("--log-format", type=click.Choice(["text", "json"]), help="On standard error."),
    }

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def with_config(config_file: Path | None, **values: Any) -> Any:  # noqa: ANN401 - click's own values
            given = {name: values.pop(name) for name in names}
            config = load_config(given, file=config_file)
            set_up_logs(config.log.format, config.log.level)
            return command(config, **values)

        with_config.__name__, with_config.__doc__ = command.__name__, command.__doc__
        with_config.__click_params__ = list(getattr(command, "__click_params__", []))  # type: ignore[attr-defined]
        for name in reversed(names):
            with_config = offered[name](with_config)
        return click.option(
            "--config", "config_file", metavar="FILE", envvar="EDGE_QC_CONFIG", type=click.Path(path_type=Path),
            help="Default: ./config.yaml, /etc/edge-qc/config.yaml, built in.",
        )(with_config)  # fmt: skip

    return decorate


@click.group(
    cls=_DefaultsToRun,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`edge-qc --source SRC` is short for `edge-qc run --source SRC`.",
)
@click.version_option(__version__, prog_name="edge-qc")
def cli() -> None:
    """Inspects every part that passes a camera and tells the PLC which ones to reject."""


@cli.command()
@_options(*SHORT_NAMES)
@click.option("--once", is_flag=True, envvar="EDGE_QC_ONCE", help="Inspect what the source holds now, then exit.")
def run(config: Config, *, once: bool) -> int:
    """Inspect (the default command)."""
    from edge_qc.assembly import run_station  # noqa: PLC0415 - other commands need no OpenCV

    return run_station(config, once=once)


@cli.command()
@click.option("--parts", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many parts come.")
@click.option("--headless", is_flag=True, help="No live table: the summary alone.")
@click.option("--rate", type=click.FloatRange(0.1, 100), help="Parts a second.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--model", metavar="BUNDLE", type=click.Path(path_type=Path))
def demo(*, parts: int, headless: bool, rate: float | None, seed: int, model: Path | None) -> int:
    """A simulated line with an embedded broker and a virtual PLC; exit 0 only if every part was acted on in time."""
    from edge_qc.demo import DemoOptions, run_demo  # noqa: PLC0415

    return run_demo(DemoOptions(parts=parts, headless=headless, rate=rate, seed=seed, model=model))


@cli.command()
@_options("broker", "station", "log_format")
@click.option("--window-ms", type=click.IntRange(1, 60_000), default=1000, show_default=True, help="The part window.")
@click.option(
    "--on-fault", type=click.Choice(["count", "stop", "reject"]), default="count", show_default=True,
    help="No heartbeat, a gap, no timely message: stop the line, remove the part, or count alone.",
)  # fmt: skip
@click.option("--parts", type=click.IntRange(1), help="End after so many parts.")
@click.option("--for", "seconds", type=click.FloatRange(0.1), help="End after so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON on standard output, at the end.")
def plc(config: Config, *, as_json: bool, **how: Any) -> int:  # noqa: ANN401 - click's own values
    """A virtual PLC on a real broker: acts, acknowledges, and counts. Ends by --parts, --for or Ctrl-C."""
    from edge_qc.assembly import stopped_by_signals  # noqa: PLC0415
    from edge_qc.virtual_plc import run_plc  # noqa: PLC0415

    with stopped_by_signals() as stop:
        counts = run_plc(config.broker, config.station, **how, stop_event=stop)
    if as_json:
        click.echo(json.dumps(asdict(counts)))
    else:
        for name, value in asdict(counts).items():
            click.echo(f"{name:18} {value}")
    return DONE


@cli.command()
@_options(*SHORT_NAMES)
def check(config: Config) -> int:
    """Camera, model, broker, disk, clock, permissions: a line each, and what to do about each fault."""
    from edge_qc.check import check_all  # noqa: PLC0415

    faults = 0
    for finding in check_all(config):
        faults += not finding.ok
        click.echo(f"{'ok   ' if finding.ok else 'FAULT'} {finding.name:12} {finding.text}")
    return FAULT if faults else DONE


@cli.command()
@_options("model", "data_dir")
@click.option("--parts", type=click.IntRange(1, 100_000), default=300, show_default=True, help="How many of each.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON on standard output instead of tables.")
def bench(config: Config, *, parts: int, as_json: bool) -> int:
    """Where the milliseconds go, on this machine: drawn castings, the station's model, a Mosquitto of its own."""
    from edge_qc.bench import bench as measure  # noqa: PLC0415
    from edge_qc.bench import print_tables  # noqa: PLC0415

    click.echo(f"Measuring {parts} parts: about {10 + parts * 0.08:.0f} s.", err=True)
    measured = measure(config, parts)
    if as_json:
        click.echo(json.dumps(measured.as_json()))
    else:
        print_tables(measured)
    return DONE


@cli.command()
@_options("source", "broker", "station", "log_format")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), required=True, help="Where the pictures go.")
@click.option("--parts", type=click.IntRange(1), help="End after so many pictures.")
@click.option("--every", "every_s", type=click.FloatRange(0), default=0.0, help="At most one in so many seconds.")
def capture(config: Config, *, out: Path, parts: int | None, every_s: float) -> int:
    """Pictures for training, from the running line: the station's source and trigger, no verdicts."""
    from edge_qc.assembly import stopped_by_signals  # noqa: PLC0415
    from edge_qc.capture_command import capture as collect  # noqa: PLC0415
    from edge_qc.capture_command import summary  # noqa: PLC0415

    with stopped_by_signals() as stop:
        done = collect(config, out, parts=parts, every_s=every_s, stop=stop)
    click.echo(summary(done, out))
    return DONE


@cli.command()
@click.option(
    "--config", "config_file", metavar="FILE", type=click.Path(path_type=Path),
    help="Use its station and broker, under topics of our own; default: a broker of our own.",
)  # fmt: skip
@click.option("--only", metavar="NAME", multiple=True, help="This fault alone; can be given again.")
@click.option("--quick", is_flag=True, help="Shorter and fewer of each: three minutes instead of a quarter of an hour.")
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON on standard output, at the end.")
def selftest(*, config_file: Path | None, only: tuple[str, ...], quick: bool, as_json: bool) -> int:
    """The faults of the promise, injected one by one against a virtual PLC; exit 1 if any falls short."""
    from edge_qc.selftest.faults import FAULTS, Bench, run_faults, summary  # noqa: PLC0415

    unknown = sorted(set(only) - FAULTS.keys())
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: expected one of {', '.join(FAULTS)}", param_hint="--only")
    set_up_logs("text", "error")  # faults are what it is about: a line each would hide the table
    bench = Bench(quick=quick, config=None if config_file is None else load_config({}, file=config_file))
    click.echo(f"broker: {bench.broker_name}", err=as_json)
    rows = []
    for row in run_faults(bench, only):
        rows.append(row)
        click.echo(str(row), err=as_json)
    if as_json:
        click.echo(json.dumps(summary(bench, rows)))
    return FAULT if any(row.status == "short" for row in rows) else DONE


@cli.command()
@_options("data_dir", "log_format")
@click.option("--since", metavar="WHEN", help="ISO 8601 in UTC, or an age: 90s, 30m, 8h, 7d.")
@click.option("--verdict", type=click.Choice(["ok", "reject", "unsure", "not_inspected"]))
@click.option("--limit", type=click.IntRange(1), help="The newest so many.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def history(config: Config, *, since: str | None, verdict: str | None, limit: int | None, form: str) -> int:
    """Past inspections, oldest first."""
    from edge_qc.history import print_history, since_text  # noqa: PLC0415

    return print_history(config, since_text(since), verdict, limit, form)


@cli.command(name="config")
@_options(*SHORT_NAMES)
@click.option("--schema", is_flag=True, help="The JSON Schema of the config file instead, for editors.")
def config_(config: Config, *, schema: bool) -> int:
    """The configuration in force, from all its places, as YAML; a stream's password is left out."""
    import yaml  # noqa: PLC0415

    if schema:
        click.echo(json.dumps(Config.model_json_schema(), indent=2))
    else:
        from edge_qc.sources import source_name  # noqa: PLC0415

        shown = config.model_copy(update={"source": config.source.model_copy(update={"uri": source_name(config)})})
        click.echo(yaml.safe_dump(shown.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
    return DONE


@cli.group()
def camera() -> None:
    """Cameras at this machine, and the profile that keeps their pictures alike."""


@camera.command(name="list")
def list_cameras() -> int:
    """Every camera: driver, bus, the path for the config, formats, sizes and rates."""
    from edge_qc.camera_command import list_cameras as list_them  # noqa: PLC0415 - other commands need no camera

    list_them(click.echo)
    return DONE


@camera.command(name="show")
@click.argument("device", metavar="DEVICE")
def show_camera(*, device: str) -> int:
    """A camera's controls: name, value, default and range."""
    from edge_qc.camera_command import show_camera as show_it  # noqa: PLC0415

    show_it(device, click.echo)
    return DONE


@camera.command()
@_options()
@click.argument("device", metavar="DEVICE")
@click.option("--write", metavar="FILE", type=click.Path(path_type=Path), help="Into a new file, too.")
def tune(config: Config, *, device: str, write: Path | None) -> int:
    """Let a camera find its exposure, gain, white balance and focus, hold it there, and print that for the config."""
    from edge_qc.camera_command import tune_camera  # noqa: PLC0415

    click.echo(tune_camera(device, config, lambda line: click.echo(line, err=True), write=write), nl=False)
    return DONE


@cli.group()
def model() -> None:
    """Bundles on the device."""


def _installed(config: Config) -> Any:  # noqa: ANN401 - imported late
    from edge_qc.assembly import data_dir  # noqa: PLC0415
    from edge_qc.installed import InstalledBundles  # noqa: PLC0415

    return InstalledBundles(data_dir(config))


@model.command()
@_options("data_dir")
@click.argument("bundle", type=click.Path(path_type=Path))
def install(config: Config, *, bundle: Path) -> int:
    """Verify a bundle, copy it to the device, and make it current from the next start or `reload` on."""
    click.echo(f"{_installed(config).install(bundle).card.id} is current; {TO_USE_IT}")
    return DONE


@model.command(name="list")
@_options("data_dir")
def list_(config: Config) -> int:
    """Installed bundles; a star marks the current one."""
    installed = _installed(config)
    current = installed.current()
    for path in dict.fromkeys([*installed.all(), current]):
        click.echo(f"{'*' if path == current else ' '} {path.name:32} {path}")
    return DONE


@model.command()
@_options("data_dir")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
def show(config: Config, *, bundle: Path | None) -> int:
    """What model.json says of a bundle; the current one by default."""
    from edge_qc.bundle import load_bundle  # noqa: PLC0415

    click.echo(load_bundle(bundle or _installed(config).current()).card.model_dump_json(indent=2))
    return DONE


@model.command()
@_options("data_dir")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
def verify(config: Config, *, bundle: Path | None) -> int:
    """Check a bundle's sums, and that its model is what its card says."""
    from edge_qc.bundle import load_bundle  # noqa: PLC0415
    from edge_qc.classify.litert import LiteRtClassifier  # noqa: PLC0415

    loaded = load_bundle(bundle or _installed(config).current())
    LiteRtClassifier(loaded)
    click.echo(f"{loaded.card.id}: sums hold, the model is what its card says")
    return DONE


@model.command()
@_options("data_dir")
def rollback(config: Config) -> int:
    """Make the bundle before the current one current again."""
    click.echo(f"{_installed(config).rollback().name} is current; {TO_USE_IT}")
    return DONE


def main(args: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 1 a fault while running, 2 a wrong option or config."""
    sys.exit(_main(args))


def _main(args: Sequence[str] | None) -> int:
    try:
        return cast("int", cli.main(args=None if args is None else list(args), standalone_mode=False)) or DONE
    except click.exceptions.Abort:
        return FAULT
    except click.ClickException as error:
        error.show()
        return WRONG_USE
    except ConfigError as error:
        click.echo(f"edge-qc: {len(error.faults)} fault(s) in the configuration ({error.where}):", err=True)
        for fault in error.faults:
            click.echo(f"  {fault}", err=True)
        return WRONG_USE
    except EdgeQcError as error:
        click.echo(f"edge-qc: {error}", err=True)
        return FAULT
    except Exception:
        log.exception("a fault that nobody foresaw")
        return FAULT
