// token_surprisal — which tokens of the clean prompts the model did not expect. An example of a plug-in in C++; the
// README of plugins/ goes through the parts.
#include <microtome_plugin.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

const microtome_host* host = nullptr;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kPromptsPerItem = 16;

// What leaves a callback as an exception is turned into a code at its end (`guarded`).
struct Failure {
  int32_t code;
};
void must(int32_t code) {
  if (code != MICROTOME_OK) throw Failure{code};
}

template <class F>
int32_t guarded(microtome_error* error, F f) {
  try {
    f();
    return MICROTOME_OK;
  } catch (const Failure& e) {
    return e.code;  // the host has written the sentence
  } catch (const std::exception& e) {
    std::snprintf(error->text, sizeof error->text, "%s", e.what());
    return MICROTOME_FAILED;
  }
}

// Prompts of one length run together; nothing is padded.
struct Group {
  int64_t length;
  std::vector<int64_t> prompts;
};

struct Run {
  std::vector<Group> groups;
  std::vector<std::vector<int64_t>> ids;
  int64_t width = 0;   // the longest prompt
  double per_nat = 1;  // of the unit chosen
  const char* unit = "nats";
};

int32_t create(void*, microtome_run* run, void** handle, microtome_error* error) {
  return guarded(error, [&] {
    auto r = std::make_unique<Run>();
    std::map<int64_t, std::vector<int64_t>> by_length;
    for (int64_t i = 0; i < host->prompt_count(run); ++i) {
      microtome_prompt p{};
      p.version = MICROTOME_PLUGIN_VERSION;
      p.size = sizeof p;
      must(host->prompt(run, i, &p, error));
      r->ids.emplace_back(p.clean, p.clean + p.clean_count);
      by_length[p.clean_count].push_back(i);
      r->width = std::max(r->width, p.clean_count);
    }
    for (const auto& [length, prompts] : by_length)
      for (size_t from = 0; from < prompts.size(); from += kPromptsPerItem)
        r->groups.push_back(
            {length, std::vector<int64_t>(prompts.begin() + from,
                                          prompts.begin() + std::min(prompts.size(), from + kPromptsPerItem))});
    if (std::string(host->param_text(run, "unit")) == "bits") {
      r->per_nat = 1 / std::log(2.0);
      r->unit = "bits";
    }
    *handle = r.release();
  });
}

void destroy(void* handle) { delete static_cast<Run*>(handle); }
int64_t item_count(void* handle) { return static_cast<int64_t>(static_cast<Run*>(handle)->groups.size()); }

void item_title(void* handle, int64_t item, char* text, uint64_t size) {
  const Group& g = static_cast<Run*>(handle)->groups[static_cast<size_t>(item)];
  std::snprintf(text, size, "%zu prompts of %lld tokens", g.prompts.size(), static_cast<long long>(g.length));
}

int32_t run_item(void* handle, microtome_run* run, int64_t item, microtome_error* error) {
  return guarded(error, [&] {
    const Run& r = *static_cast<Run*>(handle);
    const Group& g = r.groups[static_cast<size_t>(item)];
    int64_t count = static_cast<int64_t>(g.prompts.size()), cells = count * g.length;
    std::vector<double> surprisal(cells, kNaN), entropy(cells, kNaN), guess_probability(cells, kNaN);
    std::vector<int64_t> guess(cells, -1);
    int64_t batch = std::max<int64_t>(1, host->batch_rows(run));
    for (int64_t from = 0; from < count && g.length > 1; from += batch) {
      must(host->step(run, from, count, nullptr));
      int64_t rows = std::min(batch, count - from);
      std::vector<int64_t> tokens;
      for (int64_t i = 0; i < rows; ++i) {
        const auto& ids = r.ids[static_cast<size_t>(g.prompts[static_cast<size_t>(from + i)])];
        tokens.insert(tokens.end(), ids.begin(), ids.end());
      }
      microtome_forward request{};
      request.version = MICROTOME_PLUGIN_VERSION;
      request.size = sizeof request;
      request.tokens = tokens.data();
      request.rows = rows;
      request.length = g.length;
      request.on_device = 0;  // row-major float32 in main memory, float64 with --dtype float64
      const microtome_forward_result* result = nullptr;
      must(host->forward(run, &request, &result, error));
      int64_t vocab = result->logits.shape[2];
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t t = 1; t < g.length; ++t) {
          // Logits at t − 1 say what was expected at t.
          int64_t row = (i * g.length + t - 1) * vocab;
          auto logit = [&](int64_t v) {
            return result->logits.dtype.bits == 64
                       ? static_cast<const double*>(result->logits.data)[row + v]
                       : static_cast<double>(static_cast<const float*>(result->logits.data)[row + v]);
          };
          int64_t best = 0;
          for (int64_t v = 1; v < vocab; ++v)
            if (logit(v) > logit(best)) best = v;
          double sum = 0, weighted = 0;
          for (int64_t v = 0; v < vocab; ++v) {
            double d = logit(v) - logit(best), e = std::exp(d);
            sum += e;
            if (e > 0) weighted += e * d;
          }
          double log_sum = std::log(sum);
          int64_t cell = (from + i) * g.length + t;
          surprisal[cell] = (log_sum - (logit(tokens[i * g.length + t]) - logit(best))) * r.per_nat;
          entropy[cell] = (log_sum - weighted / sum) * r.per_nat;
          guess[cell] = best;
          guess_probability[cell] = 1 / sum;
        }
      host->free_forward(run, result);
    }
    const char* axes[] = {"prompt", "pos"};
    const int64_t shape[] = {count, g.length};
    const microtome_array arrays[] = {
        {"surprisal", MICROTOME_FLOAT64, 2, axes, shape, surprisal.data(), r.unit, nullptr},
        {"entropy", MICROTOME_FLOAT64, 2, axes, shape, entropy.data(), r.unit, nullptr},
        {"guess", MICROTOME_INT64, 2, axes, shape, guess.data(), nullptr, nullptr},
        {"guess_probability", MICROTOME_FLOAT64, 2, axes, shape, guess_probability.data(), nullptr, nullptr}};
    for (const microtome_array& a : arrays) must(host->add_array(run, &a, error));
  });
}

struct Token {
  int64_t prompt, pos, guess;
  double surprisal, entropy, guess_probability;
};

microtome_cell integer(int64_t v) { return {MICROTOME_CELL_INTEGER, v, 0, nullptr}; }
microtome_cell number(double v) { return {MICROTOME_CELL_NUMBER, 0, v, nullptr}; }
microtome_cell text(const char* v) { return {MICROTOME_CELL_TEXT, 0, 0, v}; }

// Summary and findings: what a reader should know first.
void conclude(const Run& r, microtome_run* run, const std::vector<Token>& tokens, microtome_error* error) {
  std::vector<double> sum(r.ids.size(), 0), entropy(r.ids.size(), 0), count(r.ids.size(), 0);
  double total = 0, hits = 0;
  for (const Token& t : tokens) {
    size_t p = static_cast<size_t>(t.prompt);
    sum[p] += t.surprisal;
    entropy[p] += t.entropy;
    count[p] += 1;
    total += t.surprisal;
    hits += t.guess == r.ids[p][static_cast<size_t>(t.pos)];
  }
  for (size_t p = 0; p < sum.size(); ++p) {
    sum[p] = count[p] > 0 ? sum[p] / count[p] : kNaN;
    entropy[p] = count[p] > 0 ? entropy[p] / count[p] : kNaN;
  }
  double n = static_cast<double>(tokens.size()), mean = total / n, perplexity = std::exp(mean / r.per_nat);
  must(host->add_mean(run, "surprisal", sum.data(), static_cast<int64_t>(sum.size()), r.unit,
                      "mean over a prompt's tokens but the first, then over prompts", error));
  must(host->add_mean(run, "entropy", entropy.data(), static_cast<int64_t>(entropy.size()), r.unit,
                      "the same of the entropy: the surprisal the model itself expects", error));
  const microtome_summary lines[] = {
      {"perplexity", nullptr, "exp of the mean surprisal in nats over all tokens", perplexity, kNaN, kNaN,
       static_cast<int64_t>(n)},
      {"first_guess_share", nullptr, "share of tokens that the model thought most probable", hits / n, kNaN, kNaN,
       static_cast<int64_t>(n)}};
  for (const microtome_summary& line : lines) must(host->add_summary(run, &line, error));
  char sentence[400];
  std::snprintf(
      sentence, sizeof sentence,
      "The model needs %.3g %s a token on these prompts (perplexity %.3g); %.0f %% of the tokens are its first guess.",
      mean, r.unit, perplexity, 100 * hits / n);
  must(host->add_finding(run, sentence, error));
  const Token& worst = tokens.front();
  int64_t id = r.ids[static_cast<size_t>(worst.prompt)][static_cast<size_t>(worst.pos)];
  std::snprintf(
      sentence, sizeof sentence,
      "Least expected is '%.60s' at position %lld of prompt %lld (%.3g %s), where the model expected '%.60s'.",
      host->token_text(run, id), static_cast<long long>(worst.pos), static_cast<long long>(worst.prompt + 1),
      worst.surprisal, r.unit, host->token_text(run, worst.guess));
  must(host->add_finding(run, sentence, error));
}

void put_maps(const Run& r, microtome_run* run, const std::vector<Token>& tokens, microtome_error* error) {
  // Aligned at the end, where prompts of different length have their answer.
  size_t prompts = r.ids.size(), width = static_cast<size_t>(r.width);
  std::vector<double> surprisal(prompts * width, kNaN), entropy(prompts * width, kNaN);
  std::vector<double> x, mean_surprisal, mean_entropy, count(width, 0), sum_s(width, 0), sum_e(width, 0);
  for (const Token& t : tokens) {
    size_t column = width - r.ids[static_cast<size_t>(t.prompt)].size() + static_cast<size_t>(t.pos);
    surprisal[static_cast<size_t>(t.prompt) * width + column] = t.surprisal;
    entropy[static_cast<size_t>(t.prompt) * width + column] = t.entropy;
    sum_s[column] += t.surprisal;
    sum_e[column] += t.entropy;
    count[column] += 1;
  }
  std::vector<std::string> names;
  for (size_t p = 0; p < prompts; ++p) names.push_back("prompt " + std::to_string(p + 1));
  for (size_t c = 0; c < width; ++c) names.push_back(std::to_string(static_cast<int64_t>(c) - r.width));
  std::vector<const char*> pointers;
  for (const std::string& n : names) pointers.push_back(n.c_str());
  const char* axes[] = {"prompt", "pos"};
  const int64_t shape[] = {static_cast<int64_t>(prompts), r.width};
  const microtome_array arrays[] = {{"surprisal", MICROTOME_FLOAT64, 2, axes, shape, surprisal.data(), r.unit, nullptr},
                                    {"entropy", MICROTOME_FLOAT64, 2, axes, shape, entropy.data(), r.unit, nullptr}};
  const microtome_axis_labels labels[] = {{"prompt", shape[0], pointers.data()},
                                          {"pos", shape[1], pointers.data() + prompts}};
  const microtome_look looks[] = {{"surprisal", "sequential"}, {"entropy", "sequential"}};
  microtome_tensor_map map{
      "token_surprisal", "Surprisal of every token, aligned at the end", arrays, 2, labels, 2, looks, 2};
  must(host->add_tensor_map(run, &map, error));
  for (size_t c = 0; c < width; ++c) {
    if (count[c] == 0) continue;
    x.push_back(static_cast<double>(c) - static_cast<double>(width));
    mean_surprisal.push_back(sum_s[c] / count[c]);
    mean_entropy.push_back(sum_e[c] / count[c]);
  }
  int64_t n = static_cast<int64_t>(x.size());
  const microtome_line lines[] = {{"surprisal", x.data(), mean_surprisal.data(), n},
                                  {"entropy", x.data(), mean_entropy.data(), n}};
  microtome_series series{
      "surprisal_by_position", "Mean over prompts, by position from the end", "position", r.unit, lines, 2};
  must(host->add_series(run, &series, error));
}

int32_t finish(void* handle, microtome_run* run, microtome_error* error) {
  return guarded(error, [&] {
    const Run& r = *static_cast<Run*>(handle);
    std::vector<Token> tokens;
    for (size_t i = 0; i < r.groups.size(); ++i) {
      microtome_array surprisal, entropy, guess, probability;
      auto get = [&](const char* name, microtome_array& a) {
        must(host->item_array(run, static_cast<int64_t>(i), name, &a, error));
      };
      get("surprisal", surprisal);
      get("entropy", entropy);
      get("guess", guess);
      get("guess_probability", probability);
      const Group& g = r.groups[i];
      for (size_t p = 0; p < g.prompts.size(); ++p)
        for (int64_t t = 1; t < g.length; ++t) {
          size_t cell = p * static_cast<size_t>(g.length) + static_cast<size_t>(t);
          tokens.push_back({g.prompts[p], t, static_cast<const int64_t*>(guess.data)[cell],
                            static_cast<const double*>(surprisal.data)[cell],
                            static_cast<const double*>(entropy.data)[cell],
                            static_cast<const double*>(probability.data)[cell]});
        }
    }
    if (tokens.empty()) {
      must(host->add_warning(run, "No prompt has more than one token, so nothing could be predicted.", error));
      return;
    }
    // NaN (a broken model) goes to the end; equal ones stay in the order of the prompts.
    auto rank = [](const Token& t) { return std::isnan(t.surprisal) ? -1 : t.surprisal; };
    std::stable_sort(tokens.begin(), tokens.end(), [&](const Token& a, const Token& b) { return rank(a) > rank(b); });
    conclude(r, run, tokens, error);
    put_maps(r, run, tokens, error);
    const microtome_column columns[] = {{"prompt", nullptr, nullptr},
                                        {"pos", nullptr, "from 0"},
                                        {"after", nullptr, "the three tokens before"},
                                        {"token", nullptr, "the prompt's token"},
                                        {"surprisal", r.unit, "−ln p of the token"},
                                        {"entropy", r.unit, "surprisal the model expected"},
                                        {"expected", nullptr, "the most probable token"},
                                        {"p_expected", nullptr, "its probability"}};
    std::vector<microtome_cell> cells;
    std::vector<std::string> before;  // reserved: the cells point into it
    int64_t rows = std::min<int64_t>(host->param_int(run, "top"), static_cast<int64_t>(tokens.size()));
    before.reserve(static_cast<size_t>(rows));
    for (int64_t i = 0; i < rows; ++i) {
      const Token& t = tokens[static_cast<size_t>(i)];
      const auto& ids = r.ids[static_cast<size_t>(t.prompt)];
      before.emplace_back();
      for (int64_t k = std::max<int64_t>(0, t.pos - 3); k < t.pos; ++k)
        before.back() += host->token_text(run, ids[static_cast<size_t>(k)]);
      for (const microtome_cell& c :
           {integer(t.prompt + 1), integer(t.pos), text(before.back().c_str()),
            text(host->token_text(run, ids[static_cast<size_t>(t.pos)])), number(t.surprisal), number(t.entropy),
            text(host->token_text(run, t.guess)), number(t.guess_probability)})
        cells.push_back(c);
    }
    microtome_table table{"surprising_tokens", "Least expected tokens", columns, 8, cells.data(), rows};
    must(host->add_table(run, &table, error));
  });
}

const char* const kAxes[] = {"prompt", "pos"};
const microtome_output kOutputs[] = {
    {"surprisal", kAxes, 2, "−ln p(token | tokens before it); missing at the first position"},
    {"entropy", kAxes, 2,
     "entropy of the distribution the token was drawn from: the surprisal the model itself expects there"}};
const char* const kParams = R"({"params": [
  {"name": "top", "type": "int", "default": 20, "range": [1, 1000], "affects": "answer",
   "help": "Rows of the table of least expected tokens."},
  {"name": "unit", "type": "choice", "default": "nats", "choices": ["nats", "bits"], "affects": "answer",
   "help": "Unit of surprisal and entropy."},
  {"name": "batch_size", "type": "int", "default": 0, "range": [0, 65536], "affects": "cost",
   "help": "Prompts that run together; 0: chosen by size."}
]})";
const microtome_analysis kAnalysis = {
    MICROTOME_PLUGIN_VERSION, sizeof(microtome_analysis), "token_surprisal", 1, "Surprisal of every token",
    "For every token of the clean prompts but the first: surprisal −ln p(x_t | x_0 … x_t−1), and the entropy −Σ p ln p of "
    "the distribution at that place. A token whose surprisal is far above the entropy is one the model was sure not to see.",
    "Hale 2001; Levy 2008", kParams, kOutputs, 2, MICROTOME_PROMPTS_CLEAN, 0, nullptr,
    create, item_count, item_title, run_item, finish, destroy};
const microtome_analysis* const kAnalyses[] = {&kAnalysis};
const microtome_plugin kPlugin = {
    MICROTOME_PLUGIN_VERSION, sizeof(microtome_plugin), "token surprisal (example)", "1.0", kAnalyses, 1, nullptr, 0, nullptr, 0};

}  // namespace

const microtome_plugin* microtome_plugin_entry(const microtome_host* h) {
  host = h;
  return &kPlugin;
}
