// features: the dashboards of a run of the analysis `features`: search, one feature in the terminal, labels, HTML pages.
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "app/cli/commands/commands.h"
#include "app/report/feature_html.h"
#include "app/report/html.h"

namespace microtome::cli {
namespace {

using report::clean_utf8;
using report::shorten;
using report::text_cells;

constexpr const char* kBlocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr size_t kMostText = 100;              // cells of an example's text in the terminal

int64_t number_of(const std::string& text, const char* option) {
  int64_t n = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0)
    throw Error(StatusCode::kBadInput, "'" + shorten(text, 60) + "' is no number of a feature", option, std::string("write ") + option + " 12");
  return n;
}

std::string token_text(const FeatureSet& set, int64_t id) {
  auto it = set.token_texts.find(id);
  std::string text = clean_utf8(it == set.token_texts.end() ? "#" + std::to_string(id) : it->second), out;
  for (char c : text) out += c == '\n' ? "⏎" : c == '\t' ? "⇥" : std::string(1, c);
  return out;
}

const char* block(double share) { return kBlocks[std::clamp(static_cast<int>(std::ceil(share * 8)), 0, 8)]; }

// The text, and under it how strongly the feature is active on each token.
void print_example(const FeatureSet& set, const FeatureSet::Example& e, double max) {
  std::string text, marks;
  size_t cells = 0, from = 0;
  // What does not fit is left out on both sides of the strongest token.
  std::vector<std::string> tokens;
  for (int64_t id : e.ids) tokens.push_back(shorten(token_text(set, id), 40));
  const size_t strongest = e.strongest >= 0 ? std::min<size_t>(static_cast<size_t>(e.strongest), tokens.empty() ? 0 : tokens.size() - 1) : 0;
  size_t before = 0;
  for (size_t i = strongest; i-- > 0;) {
    before += static_cast<size_t>(text_cells(tokens[i]));
    if (before > kMostText * 2 / 3) {
      from = i + 1;
      break;
    }
  }
  for (size_t i = from; i < tokens.size(); ++i) {
    const size_t width = static_cast<size_t>(text_cells(tokens[i]));
    if (cells + width > kMostText && i > strongest) break;
    cells += width;
    text += tokens[i];
    const float a = i < e.activations.size() ? e.activations[i] : 0.f;
    for (size_t k = 0; k < width; ++k) marks += a > 0 && max > 0 ? block(static_cast<double>(a) / max) : " ";
  }
  const float peak = strongest < e.activations.size() ? e.activations[strongest] : 0.f;
  marks.erase(marks.find_last_not_of(' ') + 1);
  std::printf("%9s  %s\n%9s  %s\n", number_text(static_cast<double>(peak), 3).c_str(), text.c_str(), "", marks.c_str());
}

std::string logit_text(const FeatureSet& set, const std::vector<FeatureSet::TokenScore>& v, size_t i) {
  return i < v.size() ? "'" + shorten(token_text(set, v[i].id), 24) + "' " + number_text(v[i].value, 3) : "";
}
std::string near_text(const std::vector<FeatureSet::Neighbour>& v, size_t i) {
  return i < v.size() ? std::to_string(v[i].feature) + " " + number_text(v[i].value, 3) : "";
}

void print_feature(const FeatureSet& set, const FeatureSet::Feature& f) {
  std::printf("feature %lld of %s at %s%s%s\n", static_cast<long long>(f.index), clean_utf8(set.dictionary.empty() ? "the dictionary" : set.dictionary).c_str(), clean_utf8(set.hook).c_str(),
              f.label.empty() ? "" : ": ", clean_utf8(f.label).c_str());
  if (f.density == 0) std::printf("never fires on the %lld tokens of the corpus\n", static_cast<long long>(set.tokens_seen));
  else std::printf("fires on %s %% of %lld tokens, largest %s, mean %s\n", number_text(100 * f.density, 3).c_str(), static_cast<long long>(set.tokens_seen), number_text(f.max).c_str(), number_text(f.mean).c_str());
  int64_t most = 0;
  for (int64_t n : f.histogram) most = std::max(most, n);
  if (most > 0) {
    std::string bars;
    for (int64_t n : f.histogram) bars += n <= 0 ? " " : block(std::log1p(static_cast<double>(n)) / std::log1p(static_cast<double>(most)));
    std::printf("0 |%s| %s  (heights logarithmic, highest %lld)\n", bars.c_str(), number_text(f.max, 3).c_str(), static_cast<long long>(most));
  }
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < std::max({f.top_logits.size(), f.bottom_logits.size(), f.neighbours.size(), f.coactive.size()}); ++i)
    rows.push_back({logit_text(set, f.top_logits, i), logit_text(set, f.bottom_logits, i), near_text(f.neighbours, i), near_text(f.coactive, i)});
  if (!rows.empty()) {
    std::printf("\n");
    print_table({"raises", "lowers", "nearest (cosine)", "fires with (phi)"}, rows);
  }
  std::string band;
  for (const FeatureSet::Example& e : f.examples) {
    if (e.band != band) {
      band = e.band;
      std::printf("\n%s\n", band == "top" ? "strongest examples" : ("drawn from " + clean_utf8(band) + " of the largest activation").c_str());
    }
    print_example(set, e, f.max);
  }
}

Json number_json(double v) { return std::isfinite(v) ? Json(v) : Json(nullptr); }

Json head_json(int64_t run, const FeatureSet& set) {
  return {{"run", run}, {"dictionary", clean_utf8(set.dictionary)}, {"hook", clean_utf8(set.hook)}, {"d_sae", set.d_sae}, {"tokens_seen", set.tokens_seen}};
}

Json feature_json(const FeatureSet& set, const FeatureSet::Feature& f) {
  auto text = [&](int64_t id) {
    auto it = set.token_texts.find(id);
    return Json(clean_utf8(it == set.token_texts.end() ? "#" + std::to_string(id) : it->second));
  };
  auto scores = [&](const std::vector<FeatureSet::TokenScore>& v) {
    Json out = Json::array();
    for (const auto& s : v) out.push_back({{"id", s.id}, {"token", text(s.id)}, {"value", number_json(s.value)}});
    return out;
  };
  auto near = [&](const std::vector<FeatureSet::Neighbour>& v) {
    Json out = Json::array();
    for (const auto& s : v) out.push_back({{"feature", s.feature}, {"value", number_json(s.value)}});
    return out;
  };
  Json examples = Json::array();
  for (const FeatureSet::Example& e : f.examples) {
    Json tokens = Json::array(), values = Json::array();
    for (int64_t id : e.ids) tokens.push_back(text(id));
    for (float a : e.activations) values.push_back(number_json(static_cast<double>(a)));
    examples.push_back({{"band", clean_utf8(e.band)}, {"sequence", e.sequence}, {"position", e.position}, {"strongest", e.strongest}, {"ids", e.ids}, {"tokens", tokens}, {"activations", values}});
  }
  return {{"index", f.index}, {"label", clean_utf8(f.label)}, {"density", number_json(f.density)}, {"max", number_json(f.max)}, {"mean", number_json(f.mean)}, {"histogram", f.histogram},
          {"top_logits", scores(f.top_logits)}, {"bottom_logits", scores(f.bottom_logits)}, {"neighbours", near(f.neighbours)}, {"coactive", near(f.coactive)}, {"examples", examples}};
}

std::string file_of(int64_t index) { return "feature-" + std::to_string(index) + ".html"; }

bool names_file(const std::string& path) {
  const std::string ending = std::filesystem::path(path).extension().string();
  return ending == ".html" || ending == ".htm";
}

void write_pages(ResultStore& store, const RunRecord& record, const ResultStore::FeaturePage& found, const std::string& path) {
  const std::string about = "run " + std::to_string(record.id) + " of " + record.model_name;
  size_t bytes = 0, files = 0;
  auto put = [&](const std::string& file, const std::string& text) {
    check(write_text_file(file, text));
    bytes += text.size();
    ++files;
  };
  if (names_file(path)) {
    FeatureSet all = found.head;
    for (const FeatureRow& r : found.rows) {
      FeatureSet one = store.feature(record.id, r.index).value();
      all.token_texts.merge(one.token_texts);
      all.features.push_back(std::move(one.features[0]));
    }
    std::sort(all.features.begin(), all.features.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
    put(path, all.features.size() == 1 ? report::feature_page(all, all.features[0], {}, {}, about) : report::features_page(all, about));
  } else {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (!std::filesystem::is_directory(path, error)) throw Error(StatusCode::kFailed, "cannot make the folder", path, "name another, or a file that ends in .html");
    std::vector<int64_t> known;
    for (const FeatureRow& r : found.rows) known.push_back(r.index);
    std::sort(known.begin(), known.end());
    report::FeatureLook look;
    look.link = [&](int64_t i) { return std::binary_search(known.begin(), known.end(), i) ? file_of(i) : std::string(); };
    for (size_t i = 0; i < found.rows.size(); ++i) {
      const FeatureSet one = store.feature(record.id, found.rows[i].index).value();
      report::FeaturePlace place{i > 0 ? file_of(found.rows[i - 1].index) : "", i + 1 < found.rows.size() ? file_of(found.rows[i + 1].index) : "", "index.html"};
      put(path + "/" + file_of(found.rows[i].index), report::feature_page(one, one.features.at(0), look, place, about));
    }
    put(path + "/index.html", report::feature_index_page(found.head, found.rows, about, look.link));
  }
  std::fprintf(stderr, "%s: %zu %s, %.1f MB\n", path.c_str(), files, files == 1 ? "file" : "files", static_cast<double>(bytes) / 1e6);
}

}  // namespace

int features_command(const CommandLine& line) {
  const std::vector<std::string> labels = line.list("--label");
  auto store = open_project(line, labels.empty() ? ResultStore::Mode::kReadOnly : ResultStore::Mode::kReadWrite);
  const RunRecord record = store->find_run(line.word(0)).value();
  require_done(record);
  for (const std::string& l : labels) {
    const size_t at = l.find('=');
    if (at == std::string::npos) throw Error(StatusCode::kBadInput, "'" + shorten(l, 60) + "' has no =", "--label", "write --label 12='days of the week'; --label 12= takes it away");
    check(store->set_feature_label(record.id, number_of(l.substr(0, at), "--label"), l.substr(at + 1)));
  }
  if (!labels.empty()) std::fprintf(stderr, "%zu label%s set\n", labels.size(), labels.size() == 1 ? "" : "s");
  const bool one = line.has("--feature");
  if (!labels.empty() && !one && !line.has("--search") && !line.has("--html") && !line.flag("--json")) return 0;

  FeatureQuery query = parse_feature_query(line.get("--search"));
  if (line.has("--sort")) set_sort(query, line.get("--sort"));
  if (line.has("--limit")) query.limit = static_cast<int64_t>(std::stod(line.get("--limit")));
  else if (!line.has("--html")) query.limit = 20;
  if (one) {
    const int64_t index = number_of(line.get("--feature"), "--feature");
    const FeatureSet set = store->feature(record.id, index).value();
    query = {};
    query.bounds.push_back({FeatureQuery::Field::kIndex, FeatureQuery::Compare::kEqual, static_cast<double>(index)});
    if (line.flag("--json")) {
      Json out = head_json(record.id, set);
      out["feature"] = feature_json(set, set.features.at(0));
      print_json(out);
    } else if (!line.has("--html")) {
      print_feature(set, set.features.at(0));
    }
    if (!line.has("--html")) return 0;
  }
  const ResultStore::FeaturePage found = store->search_features(record.id, query).value();
  if (line.has("--html")) {
    write_pages(*store, record, found, line.get("--html"));
    if (one || !line.flag("--json")) return 0;
  }
  if (line.flag("--json")) {
    Json out = head_json(record.id, found.head);
    out["stored"] = found.all;
    out["found"] = found.total;
    out["features"] = Json::array();
    for (const FeatureRow& r : found.rows)
      out["features"].push_back({{"index", r.index}, {"label", clean_utf8(r.label)}, {"density", number_json(r.density)}, {"max", number_json(r.max)}, {"mean", number_json(r.mean)},
                                 {"token", clean_utf8(r.token)}, {"text", clean_utf8(r.text)}});
    print_json(out);
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const FeatureRow& r : found.rows) {
    std::string text;
    for (char c : clean_utf8(r.text)) text += c == '\n' ? "⏎" : c == '\t' ? "⇥" : std::string(1, c);
    rows.push_back({std::to_string(r.index), shorten(r.label, 40), number_text(100 * r.density, 3), number_text(r.max, 4), "'" + shorten(r.token, 20) + "'", shorten(text, 80)});
  }
  std::printf("%s at %s: %lld of %lld features%s\n", clean_utf8(found.head.dictionary.empty() ? "dictionary" : found.head.dictionary).c_str(), clean_utf8(found.head.hook).c_str(), static_cast<long long>(found.total),
              static_cast<long long>(found.all), found.total > static_cast<int64_t>(rows.size()) ? (", the first " + std::to_string(rows.size())).c_str() : "");
  if (!rows.empty()) print_table({"feature", "label", "fires on %", "largest", "strongest on", "example"}, rows);
  return 0;
}

}  // namespace microtome::cli
