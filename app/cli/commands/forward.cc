// forward, mixer, generate: commands that run a model or a mixer and write tensors or text.
#include <ATen/ATen.h>

#include <cstdio>
#include <filesystem>

#include "app/cli/commands/commands.h"
#include "core/base/rng.h"
#include "core/hooks/intervention_json.h"
#include "core/mixers/registry.h"
#include "core/model/device.h"
#include "core/model/generation.h"
#include "core/model/weights.h"

namespace microtome::cli {
namespace {

std::pair<std::string, std::string> split_colon(const std::string& text) {
  // "FILE.safetensors:NAME"; a file that exists under the whole text wins.
  if (std::filesystem::exists(text)) return {text, ""};
  size_t colon = text.rfind(':');
  return colon == std::string::npos ? std::pair{text, std::string()} : std::pair{text.substr(0, colon), text.substr(colon + 1)};
}

at::Tensor ids_of(const CommandLine& line, const LoadedModel& m, const std::string& bos) {
  int given = line.has("--prompt") + line.has("--ids") + line.has("--ids-from");
  if (given != 1) throw Error(StatusCode::kBadInput, "give exactly one of --prompt, --ids and --ids-from", "forward", "see `microtome forward --help`");
  if (line.has("--prompt")) {
    std::vector<int64_t> ids = prompt_ids(m.tokenizer.get(), line.get("--prompt"), bos_mode(bos)).value();
    return at::tensor(ids, at::kLong).unsqueeze(0);
  }
  if (line.has("--ids-from")) {
    auto [path, name] = split_colon(line.get("--ids-from"));
    SafetensorsFile file = SafetensorsFile::open(path).value();
    const TensorEntry* e = name.empty() ? (file.tensors().size() == 1 ? &file.tensors()[0] : file.find("input_ids")) : file.find(name);
    if (!e) throw Error(StatusCode::kNotFound, "tensor '" + (name.empty() ? "input_ids" : name) + "' is not in the file", path, "name one as FILE:NAME");
    if (e->dtype != DType::kI64 || (e->shape.size() != 2 && e->shape.size() != 1))
      throw Error(StatusCode::kBadInput, "tensor '" + e->name + "' is no list of ids", path, "ids are I64 [batch, pos]");
    at::Tensor t = tensor_of_entry(*e, file.keep_alive()).clone();
    return t.dim() == 1 ? t.unsqueeze(0) : t;
  }
  std::string path = line.get("--ids");
  Json j = read_json_file(path).value();
  if (!j.is_array() || j.empty()) throw Error(StatusCode::kBadInput, "not a list of lists of ids", path, "write [[1, 2, 3]]");
  std::vector<at::Tensor> rows;
  for (const Json& row : j) {
    if (!row.is_array() || row.size() != j[0].size() || row.empty())
      throw Error(StatusCode::kBadInput, "rows must be non-empty lists of one length", path, "run prompts of different length one by one");
    std::vector<int64_t> ids;
    for (const Json& v : row) {
      if (!v.is_number_integer()) throw Error(StatusCode::kBadInput, "an id is not an integer", path, "write [[1, 2, 3]]");
      ids.push_back(v.get<int64_t>());
    }
    rows.push_back(at::tensor(ids, at::kLong));
  }
  return at::stack(rows, 0);
}

Capture parse_capture(const std::string& text) {
  Capture c;
  size_t at_sign = text.rfind('@');
  c.pattern = text.substr(0, at_sign);
  if (at_sign == std::string::npos) return c;
  std::string part;
  for (char ch : text.substr(at_sign + 1) + ",") {
    if (ch != ',') {
      part += ch;
      continue;
    }
    size_t used = 0;
    int64_t p = 0;
    try {
      p = std::stoll(part, &used);
    } catch (const std::exception&) {
      used = 0;
    }
    if (used == 0 || used != part.size()) throw Error(StatusCode::kBadInput, "'" + part + "' is not a position", "--capture " + text, "write PATTERN@0,5,-1");
    c.positions.push_back(p);
    part.clear();
  }
  return c;
}

}  // namespace

int forward(const CommandLine& line) {
  Compute compute = read_compute(line);
  auto m = open_model(line, compute);
  at::NoGradGuard no_grad;
  at::Tensor ids = ids_of(line, *m, compute.bos).to(compute.device);
  HookPlan plan;
  plan.form = parse_form(compute.form);
  // Nothing is computed in it, so float16 is as good on the CPU.
  if (line.has("--keep-as")) plan.kept_type = line.get("--keep-as") == "float16" ? at::kHalf : parse_dtype(line.get("--keep-as"), compute.device);
  for (const std::string& c : line.list("--capture")) {
    Capture parsed = parse_capture(c);
    plan.capture(parsed.pattern, parsed.positions);
  }
  if (line.has("--intervene")) {
    std::string path = line.get("--intervene");
    RunSource clean = [&](const std::string& run, const std::string& hook, const std::vector<int64_t>& pos) {
      if (run != "clean") throw Error(StatusCode::kBadInput, "run '" + run + "' does not exist here", path, "forward knows the run \"clean\": the same prompt without interventions");
      HookPlan p;
      p.form = plan.form;
      p.capture(hook, pos);
      return m->model->forward(ids, p).cache.get(m->model->catalogue().match(hook).at(0));
    };
    for (Intervention& i : parse_interventions(read_json_file(path).value(), path, clean)) plan.intervene(std::move(i));
  }
  ForwardResult r = m->model->forward(ids, plan);
  std::vector<std::pair<std::string, at::Tensor>> tensors{{"logits", r.logits}, {"input_ids", ids}};
  Json axes = {{"logits", {"batch", "pos", "vocab"}}, {"input_ids", {"batch", "pos"}}}, positions = Json::object();
  for (const std::string& name : r.cache.names()) {
    tensors.emplace_back(name, r.cache.get(name));
    axes[name] = r.cache.about(name).axes;
    if (!r.cache.about(name).positions.empty()) positions[name] = r.cache.about(name).positions;
  }
  write_tensors(line.get("--out"), tensors, {{"axes", axes.dump()}, {"positions", positions.dump()}, {"model", m->name}, {"form", compute.form}, {"dtype", compute.dtype_text}});
  if (!at::isfinite(r.logits).all().item<bool>())
    std::fprintf(stderr, "microtome: warning: logits hold NaN or infinite values (%s)\n", line.get("--model").c_str());
  std::fprintf(stderr, "%zu tensors in %s\n", tensors.size(), line.get("--out").c_str());
  return 0;
}

int mixer(const CommandLine& line) {
  Compute compute = read_compute(line);
  at::NoGradGuard no_grad;
  const MixerKind* kind = mixers::builtin().find(line.word(0));
  if (!kind) {
    std::string known;
    for (const MixerKind* k : mixers::builtin().all()) known += (known.empty() ? "" : ", ") + k->name;
    throw Error(StatusCode::kNotFound, "there is no mixer '" + line.word(0) + "'", "mixer", "known are " + known);
  }
  auto [path, name] = split_colon(line.get("--inputs"));
  SafetensorsFile file = SafetensorsFile::open(path).value();
  MixerOpRequest request;
  Json cases = Json::object(), about = Json::object();
  if (auto it = file.metadata().find("cases"); it != file.metadata().end()) cases = parse_json(it->second, path + ", cases").value();
  if (name.empty() && cases.size() == 1) name = cases.begin().key();
  std::string prefix = name.empty() ? "" : name + ".";
  if (cases.contains(name)) about = cases[name];
  if (!cases.empty() && !cases.contains(name)) {
    std::string known;
    for (const auto& [k, _] : cases.items()) known += (known.empty() ? "" : ", ") + k;
    throw Error(StatusCode::kNotFound, "the file has no case '" + name + "'", path, "its cases are " + known);
  }
  std::vector<std::string> inputs;
  if (about.contains("inputs")) for (const Json& n : about["inputs"]) inputs.push_back(n.get<std::string>());
  for (const TensorEntry& e : file.tensors()) {
    if (e.name.rfind(prefix, 0) != 0) continue;
    std::string short_name = e.name.substr(prefix.size());
    if (!inputs.empty() && std::find(inputs.begin(), inputs.end(), short_name) == inputs.end()) continue;
    request.inputs[short_name] = tensor_of_entry(e, file.keep_alive()).to(compute.device, compute.dtype);
  }
  if (request.inputs.empty()) throw Error(StatusCode::kNotFound, "no tensor of case '" + name + "' is in the file", path, "name a case as FILE:CASE");
  request.scalars.set("case", name);
  for (const auto& [k, v] : about.items()) {
    if (v.is_boolean()) request.scalars.set(k, v.get<bool>());
    else if (v.is_number_integer()) request.scalars.set(k, v.get<int64_t>());
    else if (v.is_number()) request.scalars.set(k, v.get<double>());
    else if (v.is_string()) request.scalars.set(k, v.get<std::string>());
    else if (k == "log_gamma" && v.is_array()) for (const Json& g : v) request.log_gamma.push_back(g.get<double>());
  }
  for (const auto& [k, v] : key_values(line.list("--set"), "--set")) {
    char* end = nullptr;
    double number = std::strtod(v.c_str(), &end);
    if (end && *end == 0 && !v.empty()) {
      if (v.find_first_of(".eE") == std::string::npos) request.scalars.set(k, static_cast<int64_t>(number));
      else request.scalars.set(k, number);
    } else {
      request.scalars.set(k, v);
    }
  }
  request.form = parse_form(compute.form);
  request.states = line.flag("--states");
  request.implied = line.flag("--implied");
  MixerOpResult result = kind->op(request);
  std::vector<std::pair<std::string, at::Tensor>> out(result.begin(), result.end());
  write_tensors(line.get("--out"), out, {{"mixer", kind->name}, {"case", name}, {"form", compute.form}});
  std::fprintf(stderr, "%zu tensors in %s\n", out.size(), line.get("--out").c_str());
  return 0;
}

int generate(const CommandLine& line) {
  Compute compute = read_compute(line);
  auto m = open_model(line, compute);
  at::NoGradGuard no_grad;
  if (!m->tokenizer) throw Error(StatusCode::kNotFound, "the model folder holds no tokenizer.json", line.get("--model"), "copy it there");
  std::vector<int64_t> ids = prompt_ids(m->tokenizer.get(), line.get("--prompt"), bos_mode(compute.bos)).value();
  int64_t max_new = static_cast<int64_t>(std::stod(line.get("--max-new", "32")));
  double temperature = std::stod(line.get("--temperature", "0"));
  Rng rng(item_seed(compute.seed, 0));
  Generation generation(*m->model, parse_form(compute.form));
  std::vector<int64_t> made;
  bool json = line.flag("--json");
  if (!json) {
    std::printf("%s", line.get("--prompt").c_str());
    std::fflush(stdout);
  }
  std::string shown;
  for (int64_t i = 0; i < max_new; ++i) {
    at::Tensor next = made.empty() ? generation.start(at::tensor(ids, at::kLong).unsqueeze(0).to(compute.device))
                                   : generation.step(at::tensor({made.back()}, at::kLong));
    at::Tensor logits = next[0].to(at::kCPU, at::kDouble);
    if (!at::isfinite(logits).all().item<bool>()) throw Error(StatusCode::kFailed, "the logits hold NaN or infinite values", line.get("--model"), "check the weights");
    int64_t id;
    if (temperature == 0) {
      id = logits.argmax().item<int64_t>();
    } else {
      at::Tensor cumulative = at::softmax(logits / temperature, -1).cumsum(0).contiguous();
      const double* c = cumulative.const_data_ptr<double>();
      id = std::min<int64_t>(std::upper_bound(c, c + cumulative.numel(), rng.uniform()) - c, cumulative.numel() - 1);
    }
    if (m->tokenizer->eos_id() && id == *m->tokenizer->eos_id()) break;
    made.push_back(id);
    if (!json) {
      // Only what is whole UTF-8 so far is shown: a character may span tokens.
      std::vector<int64_t> all = ids;
      all.insert(all.end(), made.begin(), made.end());
      std::string base = m->tokenizer->decode(ids), text = m->tokenizer->decode(all);
      if (text.rfind(base, 0) == 0) text = text.substr(base.size());
      if (text.size() > shown.size() && text.substr(text.size() - std::min<size_t>(3, text.size())) != "\xEF\xBF\xBD") {
        std::printf("%s", text.substr(shown.size()).c_str());
        std::fflush(stdout);
        shown = text;
      }
    }
  }
  if (json) print_json({{"prompt_ids", ids}, {"ids", made}, {"text", m->tokenizer->decode(made)}});
  else std::printf("\n");
  return 0;
}

}  // namespace microtome::cli
