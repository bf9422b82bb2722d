"""Makes the small copies of reference checkpoints that the repository carries.

    python3 tests/golden/subset.py SOURCE_FOLDER... tests/golden/models
    python3 tests/golden/subset.py SOURCE.safetensors... tests/golden/mixers
    python3 tests/golden/subset.py SOURCE/sae-*... tests/golden/analyses
    python3 tests/golden/subset.py SOURCE/*-attribpatch... tests/golden/analyses
    python3 tests/golden/subset.py SOURCE/rwkv_vocab_*.txt tests/golden/data/tokenizers/rwkv-world

Config and weights are copied as they are. Of expected.safetensors the first row of case a is kept (ids, logits, one hidden
state, the first attention, the states of the first and the last layer that has any), ids and logits of case b, and the
greedy continuation; the header's "subset" says so. Of a mixer's file the states after every token are kept for its first
case only, and for none where a sibling of the same form has them (NO_STATES); cases of LEFT_OUT are not kept at all. Of a
dictionary's expected.safetensors the parameters are left out that its own weights repeat, and gradients of transcoders. Of
the gradients of *-attribpatch every second layer's are kept, of models/stories260K attentions and hidden states at both ends.
Of RWKV's vocabulary those entries are kept, under their ids, that occur in the bytes of tests/golden/tokenizers/rwkv-world.json or agree with
them in all but the last byte, single bytes, and every 64th. The whole files are read where MICROTOME_GOLDEN names them.
"""
import ast
import json
import os
import re
import shutil
import struct
import sys

NO_STATES = {"linear_attn", "retention", "simple_gla", "gated_delta_rule"}
# Cases that stay with the whole files: a sibling here has the same form and length, or is smaller.
LEFT_OUT = {"linear_attn": {"c2_plain", "c3_plain", "c2_norm"}, "retention": {"c2"}, "gla": {"cg", "c2"}, "delta_rule": {"c2_neg", "c2"},
            "simple_gla": {"c2"}, "hgrn": {"c2"}, "mamba2": {"c2"}, "gated_delta_rule": {"cg", "c2"}, "abc": {"c2"}, "kda": {"cg"}, "aaren": {"c2"}, "agent_attention": {"c1"}, "flow_attention": {"c2_bidir"},
            "forgetting_attn": {"c2"}, "log_linear_attn": {"c2"}, "rwkv7": {"c3"}, "comba": {"c3"}}
SIZES = {"F64": 8, "F32": 4, "I64": 8, "I32": 4, "F16": 2, "BF16": 2, "BOOL": 1, "U8": 1}


def read(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(n))
        data = f.read()
    return header.pop("__metadata__", {}), header, data


def write(path, meta, header, blob):
    text = json.dumps({"__metadata__": meta, **header}).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + blob)


def wanted(names):
    layers = sorted({int(m.group(2)) for n in names if (m := re.match(r"(a\.)?(?:layer\.?|module\.model\.layers\.)(\d+)\.", n))})
    ends = {layers[0], layers[-1]} if layers else set()
    for n in names:
        if re.search(r"recurrent_state\.[a-z]", n):   # log-linear attention's: another layout than ours, not compared
            continue
        m = re.match(r"a\.(?:layer\.?|module\.model\.layers\.)(\d+)\.", n)
        if m and int(m.group(1)) in ends:
            yield n
        elif re.match(r"a\.(input_ids|logits|native_logits|hidden_states\.1|attentions\.[01]|state\.|cache\.)", n) or n.startswith("g."):
            yield n
        elif n in ("b.input_ids", "b.logits", "b.native_logits"):
            yield n
        elif n in ("tokens", "logits", "pattern.0", "pattern.1", "resid_post.0", "resid_post.1"):
            yield n


def subset(source, target):
    os.makedirs(target, exist_ok=True)
    for f in os.listdir(source):
        if f.endswith((".safetensors", ".json", ".bin")) and not f.startswith(("expected", "generation_config")):
            shutil.copyfile(os.path.join(source, f), os.path.join(target, f))
    meta, header, data = read(os.path.join(source, "expected.safetensors"))
    out, blob = {}, b""
    for name in sorted(wanted(list(header))):
        e = header[name]
        shape, (begin, end) = list(e["shape"]), e["data_offsets"]
        rows = 8 if not name[1] == "." else 1
        if shape and shape[0] > rows and not name.startswith("g."):
            one = SIZES[e["dtype"]]
            for s in shape[1:]:
                one *= s
            shape[0] = rows
            end = begin + rows * one
        out[name] = {"dtype": e["dtype"], "shape": shape, "data_offsets": [len(blob), len(blob) + end - begin]}
        blob += data[begin:end]
    meta["subset"] = "the first row of case a, ids and logits of case b"
    write(os.path.join(target, "expected.safetensors"), meta, out, blob)


def subset_mixer(source, target):
    meta, header, data = read(source)
    cases = json.loads(meta["cases"])
    for name in LEFT_OUT.get(os.path.basename(source).split(".")[0], ()):
        cases.pop(name, None)
        header = {tensor: e for tensor, e in header.items() if not tensor.startswith(name + ".")}
    first = 0 if os.path.basename(source).split(".")[0] in NO_STATES else 1
    for name in list(cases)[first:]:
        cases[name]["outputs"] = [o for o in cases[name]["outputs"] if o != "states"]
        header.pop(name + ".states", None)
    meta["cases"] = json.dumps(cases)
    meta["subset"] = "states of the first case only"
    out, blob = {}, b""
    for name, e in header.items():
        begin, end = e["data_offsets"]
        out[name] = {**e, "data_offsets": [len(blob), len(blob) + end - begin]}
        blob += data[begin:end]
    write(target, meta, out, blob)


def subset_dictionary(source, target):
    os.makedirs(target, exist_ok=True)
    for f in ("cfg.json", "inputs.json", "sae_weights.safetensors"):
        shutil.copyfile(os.path.join(source, f), os.path.join(target, f))
    _, own, own_data = read(os.path.join(source, "sae_weights.safetensors"))
    meta, header, data = read(os.path.join(source, "expected.safetensors"))
    bytes_of = lambda e, d: d[e["data_offsets"][0]:e["data_offsets"][1]]  # noqa: E731
    trained = {n for n in header if n.startswith("train_param.")}
    repeated = all(bytes_of(header[n], data) == bytes_of(own[n[12:]], own_data) for n in trained if n[12:] in own) and {n[12:] for n in trained} == set(own)
    transcoder = os.path.basename(target).startswith("transcoder-")
    out, blob = {}, b""
    for name, e in header.items():
        if (repeated and name in trained) or (transcoder and name.startswith("grad.")):
            continue
        out[name] = {**e, "data_offsets": [len(blob), len(blob) + len(bytes_of(e, data))]}
        blob += bytes_of(e, data)
    meta["subset"] = "without parameters that the dictionary's own weights repeat, and gradients of transcoders"
    write(os.path.join(target, "expected.safetensors"), meta, out, blob)


def keep(source, target, wanted_name, words):
    os.makedirs(target, exist_ok=True)
    for f in os.listdir(source):
        if f != "expected.safetensors" and f.endswith((".json", ".safetensors")):
            shutil.copyfile(os.path.join(source, f), os.path.join(target, f))
    meta, header, data = read(os.path.join(source, "expected.safetensors"))
    out, blob = {}, b""
    for name, e in header.items():
        if wanted_name(name):
            begin, end = e["data_offsets"]
            out[name] = {**e, "data_offsets": [len(blob), len(blob) + end - begin]}
            blob += data[begin:end]
    meta["subset"] = words
    write(os.path.join(target, "expected.safetensors"), meta, out, blob)


def subset_gradients(source, target):
    keep(source, target, lambda n: not re.match(r"grad\.blocks\.\d*[13579]\.", n), "gradients of every second layer")


def subset_ends(source, target):
    keep(source, target, lambda n: not re.match(r"(attentions|hidden_states)\.[23]$", n), "attentions and hidden states at both ends")


def subset_vocabulary(source, target):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers/rwkv-world.json"), encoding="utf-8") as f:
        golden = json.load(f)
    cases = [c for part in ("cases", "raw_bytes") for c in golden[part]]
    ids = {i for c in cases for i in c["ids"]}
    seen = set()
    for text in (bytes.fromhex(c["bytes_hex"]) for c in cases):
        seen |= {text[i:i + n] for i in range(len(text)) for n in range(1, 130)}
    with open(source, encoding="utf-8", newline="") as f:
        lines = [line for line in f.read().split("\n") if line]
    out = []
    for n, line in enumerate(lines, 1):
        number, literal = line[:line.index(" ")], line[line.index(" ") + 1:line.rindex(" ")]
        entry = ast.literal_eval(literal)
        entry = entry.encode() if isinstance(entry, str) else entry
        near = len(entry) > 3 and entry[:-1] in seen
        if len(entry) == 1 or entry in seen or near or int(number) in ids or n % 64 == 0 or n == len(lines):
            out.append(line)
    with open(target, "w", encoding="utf-8", newline="") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    for folder in sys.argv[1:-1]:
        if folder.endswith(".txt"):
            subset_vocabulary(folder, os.path.join(sys.argv[-1], os.path.basename(folder)))
            continue
        if folder.endswith(".safetensors"):
            subset_mixer(folder, os.path.join(sys.argv[-1], os.path.basename(folder)))
            continue
        if os.path.basename(folder.rstrip("/")).startswith(("sae-", "transcoder-")):
            subset_dictionary(folder.rstrip("/"), os.path.join(sys.argv[-1], os.path.basename(folder.rstrip("/"))))
            continue
        name = os.path.basename(folder.rstrip("/"))
        if name.endswith("-attribpatch") or name == "stories260K":
            (subset_gradients if name.endswith("-attribpatch") else subset_ends)(folder.rstrip("/"), os.path.join(sys.argv[-1], name))
            continue
        subset(folder.rstrip("/"), os.path.join(sys.argv[-1], os.path.basename(folder.rstrip("/"))))
