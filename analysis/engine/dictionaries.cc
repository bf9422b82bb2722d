#include "analysis/engine/dictionaries.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "analysis/engine/prompts.h"
#include "core/dictionary/formats/format.h"
#include "core/training/corpus.h"
#include "core/training/dictionary_metrics.h"

namespace microtome::engine {

DictionarySet read_named(const AnalysisInput& input, const std::string& param) {
  const std::string path = input.params.get_string(param);
  if (path.empty() && param == "transcoders")
    throw Error(StatusCode::kBadInput, "no transcoders are named", "param transcoders", "name a folder with --transcoders (`microtome run transcoder` trains some)");
  if (path.empty())
    throw Error(StatusCode::kBadInput, "no dictionary is named", "param " + param, "name a file or folder that holds an SAE or transcoders (`microtome run sae` trains one)");
  DictionarySet set = read_dictionaries(path);
  if (set.members.empty()) throw Error(StatusCode::kBadInput, "it holds no dictionary", path, "name another");
  return set;
}

std::shared_ptr<const DictionarySet> read_set(const AnalysisInput& input, const std::string& param, std::vector<std::string>& warnings) {
  DictionarySet set = read_named(input, param);
  std::vector<size_t> order(set.members.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return set.layers[a] < set.layers[b]; });
  auto out = std::make_shared<DictionarySet>();
  out->name = set.name;
  out->format = set.format;
  // A file that does not say where it belongs.
  const std::string hook = input.params.get_string("hook", ""), hook_out = input.params.get_string("hook_out", "");
  if (!hook.empty() || !hook_out.empty()) {
    if (set.members.size() > 1)
      throw Error(StatusCode::kBadInput, "a point is named for " + std::to_string(set.members.size()) + " dictionaries", "param hook", "name one dictionary, or no point");
    DictionaryConfig& c = set.members[0].config;
    if (!hook.empty()) c.hook_in = HookCatalogue::canonical(hook);
    if (!c.transcoder) c.hook_out = c.hook_in;
    else if (!hook_out.empty()) c.hook_out = HookCatalogue::canonical(hook_out);
    set.layers[0] = layer_of_hook(c.hook_in);
  }
  for (size_t i : order) {
    std::string doubt = check_against_model(set.members[i], input.model, input.weights_hash);   // throws where hook and widths do not fit
    if (!doubt.empty()) warnings.push_back(std::move(doubt));
    out->members.push_back(std::move(set.members[i]));
    out->layers.push_back(set.layers[i]);
  }
  check_points(*out, input.model);
  return out;
}

std::string member_name(const DictionarySet& set, size_t member) {
  if (set.members.size() > 1 && set.layers[member] >= 0) return "layer " + std::to_string(set.layers[member]);
  const DictionaryConfig& c = set.members[member].config;
  if (c.hook_in == c.hook_out) return c.hook_in;
  return c.hook_in + " → " + c.hook_out;
}

std::vector<std::vector<int64_t>> read_text(const AnalysisInput& input) {
  const std::string corpus = input.params.get_string("corpus");
  const ModelConfig& config = input.model.config();
  if (!corpus.empty()) {
    int64_t length = input.params.get_int("length");
    if (config.hard_context && length > config.context_length)
      throw Error(StatusCode::kBadInput, "sequences of " + std::to_string(length) + " tokens do not fit the model's context of " +
                  std::to_string(config.context_length), "param length", "choose a shorter one");
    Corpus c = read_corpus(corpus, input.tokenizer, length, input.params.get_bool("bos"), config.vocab_size, input.params.get_int("tokens"));
    std::erase_if(c.sequences, [](const std::vector<int64_t>& s) { return s.empty(); });
    if (c.sequences.empty()) throw Error(StatusCode::kBadInput, "the corpus holds no sequence", corpus, "give more text");
    return std::move(c.sequences);
  }
  if (input.dataset.pairs.empty())
    throw Error(StatusCode::kBadInput, "there is no text: neither a corpus nor prompts", "param corpus",
                "name a text or token file with corpus=, or a task or dataset");
  AnalysisInfo needs;
  needs.name = "dictionary";
  needs.prompts = AnalysisInfo::Prompts::kClean;
  require_prompts(input, needs, false);
  std::vector<std::vector<int64_t>> out;
  for (const PromptPair& p : input.dataset.pairs) out.push_back(p.clean_ids);
  return out;
}

std::vector<TextChunk> chunk_text(const std::vector<std::vector<int64_t>>& sequences, int64_t tokens, c10::Device device) {
  std::map<int64_t, std::vector<int64_t>> by_length;
  for (size_t i = 0; i < sequences.size(); ++i) by_length[static_cast<int64_t>(sequences[i].size())].push_back(static_cast<int64_t>(i));
  std::vector<TextChunk> out;
  for (const auto& [length, rows] : by_length) {
    int64_t step = std::max<int64_t>(1, tokens / length), count = static_cast<int64_t>(rows.size());
    for (int64_t from = 0; from < count; from += step) {
      TextChunk c;
      c.rows.assign(rows.begin() + from, rows.begin() + std::min(count, from + step));
      at::Tensor ids = at::empty({static_cast<int64_t>(c.rows.size()), length}, at::kLong);
      int64_t* to = ids.mutable_data_ptr<int64_t>();
      for (int64_t r : c.rows) to = std::copy(sequences[static_cast<size_t>(r)].begin(), sequences[static_cast<size_t>(r)].end(), to);
      c.tokens = ids.to(device);
      out.push_back(std::move(c));
    }
  }
  return out;
}

}  // namespace microtome::engine
