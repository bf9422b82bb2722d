#include "app/report/sections.h"

#include <algorithm>
#include <cmath>

#include "app/report/attribution_svg.h"
#include "app/report/feature_html.h"
#include "app/report/html.h"
#include "app/report/markdown.h"
#include "app/report/svg_chart.h"
#include "app/report/token_chips.h"

namespace microtome::report {
namespace {

constexpr size_t kPromptsShown = 4, kPromptsFolded = 32;

std::string fact_row(const std::string& name, const std::vector<std::string>& cells) {
  bool any = std::any_of(cells.begin(), cells.end(), [](const std::string& c) { return !c.empty(); });
  if (!any) return {};
  std::string out = "<tr><th scope=\"row\">" + escape(name) + "</th>";
  for (const std::string& c : cells) out += "<td>" + c + "</td>";
  return out + "</tr>";
}

std::string fact_value(const Json& v) {
  if (v.is_number_integer() && !v.is_number_unsigned()) return count(v.get<int64_t>());
  if (v.is_number_unsigned() && v.get<uint64_t>() < (uint64_t{1} << 62))
    return count(static_cast<int64_t>(v.get<uint64_t>()));
  return escape(shorten(scalar_text(v), 200));
}

std::string layer_strip(const ModelFacts& m) {
  const Json* layers = m.facts ? find_key(*m.facts, "layers") : nullptr;
  if (!layers || !layers->is_array() || layers->empty()) return {};
  std::string out = "<div class=\"strip\">";
  for (size_t i = 0; i < layers->size() && i < 128; ++i) {
    const Json& layer = (*layers)[i];
    MixerKind k = m.kind(static_cast<int64_t>(i));
    std::string heads = text_at(layer, "heads");
    out += std::string("<span class=\"lay") +
           (k == MixerKind::kSoftmax     ? " s"
            : k == MixerKind::kRecurrent ? " r"
                                         : "") +
           "\">" + std::to_string(i) + " " + escape(shorten(text_at(layer, "mixer", "?"), 40)) +
           (heads.empty() ? "" : " \xC3\x97" + escape(shorten(heads, 8))) + "</span>";
  }
  if (layers->size() > 128) out += "<span class=\"lay\">and " + std::to_string(layers->size() - 128) + " more</span>";
  return out + "</div>";
}

// "total" before "d_model": keys of context["model"] with words for people, the rest under their own names.
std::string fact_name(const std::string& key) {
  static const std::pair<const char*, const char*> kNames[] = {{"family", "family"},
                                                               {"parameters", "parameters"},
                                                               {"d_model", "residual width (d_model)"},
                                                               {"vocab", "vocabulary"},
                                                               {"d_mlp", "MLP width (d_mlp)"},
                                                               {"dtype", "number type"},
                                                               {"n_layers", "number of layers"}};
  for (const auto& [k, name] : kNames) {
    if (key == k) return name;
  }
  return key;
}

std::string series_html(const ArtifactRow& row, const RenderState& state) {
  Range x, y;
  bool first = true;
  for (const Artifact* a : row.artifacts) {
    if (!a) continue;
    const Series& s = std::get<Series>(*a);
    x = first ? x_range(s) : join(x, x_range(s));
    y = first ? y_range(s) : join(y, y_range(s));
    first = false;
  }
  std::string out = "<div class=\"panels\">";
  for (size_t i = 0; i < row.columns.size(); ++i) {
    if (!row.artifacts[i]) continue;
    out += "<figure>" + (row.columns.size() > 1 ? who(*row.columns[i], *state.index) : std::string()) +
           line_chart(std::get<Series>(*row.artifacts[i]), x, y, is_faithfulness(*row.artifacts[i])) + "</figure>";
  }
  return out + "</div>";
}

std::vector<const Series*> curves_of(const RunColumn& column) {
  std::vector<const Series*> out;
  for (const Artifact& a : column.run->result.artifacts)
    if (is_faithfulness(a)) out.push_back(&std::get<Series>(a));
  return out;
}

bool has_circuit(const RunColumn& column) {
  const auto& all = column.run->result.artifacts;
  return std::any_of(all.begin(), all.end(), [](const Artifact& a) { return std::holds_alternative<Circuit>(a); });
}

std::string artifact_title(const ArtifactRow& row) {
  for (const Artifact* a : row.artifacts) {
    if (!a) continue;
    std::string title = std::visit([](const auto& x) { return x.title.empty() ? x.name : x.title; }, *a);
    if (!title.empty()) return title;
  }
  return {};
}

std::string code_row(const std::string& name, const std::string& value) {
  return value.empty() ? ""
                       : "<tr><th scope=\"row\">" + escape(name) + "</th><td><code>" + escape(shorten(value, 600)) +
                             "</code></td></tr>";
}

std::string versions_text(const Json& attempt) {
  const Json* v = find_key(attempt, "versions");
  if (!v) return {};
  if (!v->is_object()) return scalar_text(*v);
  std::string out;
  for (const auto& [k, value] : v->items()) {
    if (out.size() > 500) break;
    out += (out.empty() ? "" : ", ") + k + " " + scalar_text(value);
  }
  return out;
}

}  // namespace

std::string model_mark(const ModelFacts& m) {
  switch (m.whole()) {
    case MixerKind::kSoftmax:
      return "<i class=\"m-s\"></i>";
    case MixerKind::kRecurrent:
      return "<i class=\"m-r\"></i>";
    default:
      return m.hybrid() ? "<i class=\"m-h\"></i>" : "";
  }
}

std::string who(const RunColumn& column, const ReportIndex& index) {
  return "<p class=\"who\">" + model_mark(index.models[column.model]) + escape(shorten(column.label, 100)) + "</p>";
}

std::vector<ArtifactRow> artifact_rows(const RunSet& set) {
  std::vector<ArtifactRow> rows;
  for (size_t c = 0; c < set.columns.size(); ++c) {
    std::vector<bool> taken(rows.size(), false);
    for (const Artifact& a : set.columns[c].run->result.artifacts) {
      size_t at = 0;
      for (; at < rows.size(); ++at) {
        const Artifact* other = nullptr;
        for (const Artifact* o : rows[at].artifacts) other = other ? other : o;
        bool free = !rows[at].artifacts[c];
        if (free && other && other->index() == a.index() && artifact_name(*other) == artifact_name(a)) break;
      }
      if (at == rows.size()) {
        if (rows.size() >= 500) continue;
        ArtifactRow row;
        for (const RunColumn& column : set.columns) row.columns.push_back(&column);
        row.artifacts.assign(set.columns.size(), nullptr);
        rows.push_back(std::move(row));
      }
      rows[at].artifacts[c] = &a;
    }
  }
  return rows;
}

std::string artifact_html(const ArtifactRow& row, RenderState& state) {
  const Artifact* any = nullptr;
  for (const Artifact* a : row.artifacts) any = any ? any : a;
  if (!any) return {};
  // Stands beside the circuit already, in every column.
  bool shown_already = is_faithfulness(*any);
  for (size_t i = 0; i < row.columns.size(); ++i) shown_already = shown_already && (!row.artifacts[i] || has_circuit(*row.columns[i]));
  if (shown_already) return {};
  std::string title = artifact_title(row), out;
  if (!title.empty()) out = "<h4>" + escape(shorten(title, 200)) + "</h4>";
  if (const auto* map = std::get_if<TensorMap>(any))
    if (const std::string weights = weights_text(*map); !weights.empty()) return out + "<p class=\"note\">" + escape(shorten(weights, 1000)) + "</p>";
  if (std::holds_alternative<TensorMap>(*any)) return out + tensors_html(row, state);
  if (std::holds_alternative<Series>(*any)) return out + series_html(row, state);
  bool several = row.columns.size() > 1;
  if (const auto* text = std::get_if<Text>(any)) {
    // A remark that is the same for every model is said once.
    several = !std::all_of(row.artifacts.begin(), row.artifacts.end(),
                           [&](const Artifact* a) { return a && std::get<Text>(*a).markdown == text->markdown; });
  }
  size_t shown = !several && std::holds_alternative<Text>(*any) ? 1 : row.columns.size();
  // Half the page holds about six columns of numbers; wider tables stand below one another.
  const auto* wide = std::get_if<Table>(any);
  const bool broad = (wide && wide->columns.size() > 6) || std::holds_alternative<Circuit>(*any) || std::holds_alternative<FeatureSet>(*any) ||
                     std::holds_alternative<AttributionGraph>(*any);
  if (several) out += broad ? "<div class=\"cols wide\">" : "<div class=\"cols\">";
  for (size_t i = 0; i < shown; ++i) {
    const Artifact* a = row.artifacts[i];
    if (!a) continue;
    if (several) out += "<div>" + who(*row.columns[i], *state.index);
    if (const auto* table = std::get_if<Table>(a))
      out += table_html(*table, &state.index->models[row.columns[i]->model]);
    if (const auto* features = std::get_if<FeatureSet>(a)) out += features_html(*features);
    if (const auto* circuit = std::get_if<Circuit>(a)) {
      // Beside the first circuit of the run only.
      const std::vector<Artifact>& all = row.columns[i]->run->result.artifacts;
      const bool first = &*std::find_if(all.begin(), all.end(), [](const Artifact& o) { return std::holds_alternative<Circuit>(o); }) == a;
      out += circuit_html(*circuit, &state.index->models[row.columns[i]->model], first ? curves_of(*row.columns[i]) : std::vector<const Series*>());
    }
    if (const auto* graph = std::get_if<AttributionGraph>(a)) out += attribution_html(*graph);
    if (const auto* text = std::get_if<Text>(a)) {
      out +=
          "<div class=\"text\">" + markdown_to_html(std::string_view(text->markdown).substr(0, 200000), 5) + "</div>";
    }
    if (several) out += "</div>";
  }
  return out + (several ? "</div>" : "");
}

std::string section(const std::string& id, const std::string& title, const std::string& body) {
  return body.empty() ? "" : "<section id=\"" + id + "\"><h2>" + escape(title) + "</h2>" + body + "</section>";
}

std::string findings_section(const ReportIndex& index) {
  std::string items;
  for (const AnalysisGroup& g : index.groups) {
    for (const RunSet& set : g.sets) {
      for (const RunColumn& c : set.columns) {
        if (c.run->result.findings.empty()) continue;
        // What one run says stands together, and where it is from is said once.
        items += "<li>";
        for (const std::string& f : c.run->result.findings) items += "<p>" + escape(shorten(f, 2000)) + "</p>";
        items += "<span class=\"by\">" + model_mark(index.models[c.model]) + escape(shorten(c.label, 100)) +
                 " \xC2\xB7 <a href=\"#" + g.anchor + "\">" + escape(shorten(g.title, 100)) + "</a>" +
                 (set.heading.empty() ? "" : " \xC2\xB7 " + escape(shorten(set.heading, 160))) + "</span></li>";
      }
    }
  }
  if (items.empty())
    items = "<p>None of these runs states a finding in words; their numbers follow.</p>";
  else
    items = "<ul class=\"found\">" + items + "</ul>";
  return section("found", "What was found", items);
}

std::string models_section(const ReportIndex& index) {
  std::vector<std::string> keys;
  for (const ModelFacts& m : index.models) {
    if (!m.facts) continue;
    for (const auto& [k, v] : m.facts->items()) {
      bool known = std::find(keys.begin(), keys.end(), k) != keys.end();
      if (!known && v.is_primitive() && k != "name" && keys.size() < 40) keys.push_back(k);
    }
  }
  std::string body = "<div class=\"tw\"><table class=\"facts\"><thead><tr><th></th>";
  for (const ModelFacts& m : index.models)
    body += "<th scope=\"col\">" + model_mark(m) + escape(shorten(m.label, 100)) + "</th>";
  body += "</tr></thead><tbody>";
  auto row = [&](const std::string& name, auto&& cell) {
    std::vector<std::string> cells;
    for (const ModelFacts& m : index.models) cells.push_back(cell(m));
    body += fact_row(name, cells);
  };
  for (const std::string& k : keys) {
    row(fact_name(k), [&](const ModelFacts& m) {
      const Json* v = m.facts ? find_key(*m.facts, k.c_str()) : nullptr;
      return v ? fact_value(*v) : std::string();
    });
  }
  row("layers and their mixers", [](const ModelFacts& m) { return layer_strip(m); });
  auto code = [](const std::string& s) { return s.empty() ? s : "<code>" + escape(s) + "</code>"; };
  row("weights (SHA-256)", [&](const ModelFacts& m) { return code(short_hash(m.weights_hash)); });
  row("tokenizer (SHA-256)", [&](const ModelFacts& m) { return code(short_hash(m.record->spec.tokenizer_hash)); });
  body +=
      "</tbody></table></div><p class=\"legend\"><span><i class=\"m-s\"></i>softmax attention</span>"
      "<span><i class=\"m-r\"></i>recurrent (linear attention and kin)</span>These two colours mean the same on every "
      "picture.</p>";
  return section("models", index.models.size() > 1 ? "Models" : "Model", body);
}

std::string prompts_section(const ReportIndex& index) {
  std::string body;
  for (const PromptSet& set : index.prompts) {
    body += "<h3>" + escape(shorten(set.title.empty() ? set.name : set.title, 160)) + "</h3>";
    if (!set.description.empty()) body += "<p>" + escape(shorten(set.description, 2000)) + "</p>";
    size_t n = set.prompts->size();
    body += "<p class=\"note\">" + escape(shorten(set.name, 120)) + ": " + count(static_cast<int64_t>(n)) +
            (n == 1 ? " prompt" : " prompts") +
            ". A blank is shown as \xC2\xB7, a line break as \xE2\x8F\x8E; tokens that differ between clean and "
            "corrupted are marked." +
            (set.source.empty() ? "" : " Source: " + escape(source_text(shorten(set.source, 300))) + ".") + "</p>";
    for (size_t i = 0; i < std::min(n, kPromptsShown); ++i) body += prompt_html((*set.prompts)[i], i + 1);
    if (n > kPromptsShown) {
      size_t end = std::min(n, kPromptsShown + kPromptsFolded);
      body += "<details><summary>" + std::to_string(end - kPromptsShown) + " more" +
              (end < n ? " of " + count(static_cast<int64_t>(n - kPromptsShown)) +
                             " (the others are in the stored data set)"
                       : "") +
              "</summary>";
      for (size_t i = kPromptsShown; i < end; ++i) body += prompt_html((*set.prompts)[i], i + 1);
      body += "</details>";
    }
  }
  if (body.empty())
    body =
        "<p>The runs keep no prompts: they used none (weights alone, or random tokens), or were made without them.</p>";
  return section("prompts", "Prompts", body);
}

std::string analysis_section(const AnalysisGroup& g, RenderState& state) {
  std::string body;
  if (!g.definition.empty()) body += "<p>" + escape(shorten(g.definition, 3000)) + "</p>";
  if (!g.source.empty()) body += "<p class=\"src\">Source: " + escape(source_text(shorten(g.source, 300))) + "</p>";
  for (const RunSet& set : g.sets) {
    if (!set.heading.empty()) body += "<h3>" + escape(shorten(set.heading, 200)) + "</h3>";
    const RunRecord& r = set.columns.front().run->record;
    std::string data = r.dataset_name.empty() ? r.spec.dataset_name : r.dataset_name, params = params_text(r);
    if (!data.empty() || !params.empty()) {
      body += "<p class=\"note\">" + (data.empty() ? "" : "Data set " + escape(shorten(data, 120)) + ". ") +
              (params.empty() ? "" : "Parameters: <span class=\"mono\">" + escape(shorten(params, 600)) + "</span>") +
              "</p>";
    }
    std::vector<std::string> said;
    for (const RunColumn& c : set.columns) {
      std::vector<std::string> warnings = c.run->result.warnings;
      if (std::string u = unfinished_text(c.run->record); !u.empty()) warnings.insert(warnings.begin(), u);
      for (size_t i = 0; i < std::min<size_t>(warnings.size(), 50); ++i) {
        bool all = std::all_of(set.columns.begin(), set.columns.end(), [&](const RunColumn& o) {
          const auto& w = o.run->result.warnings;
          return std::find(w.begin(), w.end(), warnings[i]) != w.end();
        });
        std::string line = (set.columns.size() > 1 && !all ? c.label + ": " : "") + warnings[i];
        if (std::find(said.begin(), said.end(), line) != said.end()) continue;
        said.push_back(line);
        body += "<p class=\"warn\"><b>Warning</b> " + escape(shorten(line, 1000)) + "</p>";
      }
      if (!c.run->record.note.empty())
        body += "<p class=\"note\">Note on " + escape(shorten(c.label, 100)) + ": " +
                escape(shorten(c.run->record.note, 2000)) + "</p>";
      if (const Json* notes = find_key(c.run->context, "artifact_notes"); notes && notes->is_object())
        for (const auto& [artifact, text] : notes->items())
          if (text.is_string())
            body += "<p class=\"note\">Note on " + escape(shorten(artifact, 100)) + " (" + escape(shorten(c.label, 100)) + "): " +
                    escape(shorten(text.get<std::string>(), 2000)) + "</p>";
    }
    body += summary_html(set, *state.index);
    std::vector<ArtifactRow> rows = artifact_rows(set);
    for (const ArtifactRow& row : rows) body += artifact_html(row, state);
    if (rows.empty()) body += "<p class=\"note\">This run holds no tables or arrays.</p>";
  }
  return section(g.anchor, g.title, body);
}

std::string notes_section(const std::string& notes) {
  return notes.empty() ? "" : section("notes", "Notes", "<div class=\"text\">" + markdown_to_html(notes, 3) + "</div>");
}

std::string repeat_section(const std::vector<ReportRun>& runs) {
  std::string body =
      "<p>Each command repeats one run. Two runs with one key have the same answer; the key is a SHA-256 over "
      "everything that affects it.</p>";
  for (const ReportRun& run : runs) {
    const RunRecord& r = run.record;
    const RunSpec& s = r.spec;
    const Json* attempt = find_key(run.context, "attempt");
    std::string model = r.model_name.empty() ? s.model_name : r.model_name,
                device = attempt ? text_at(*attempt, "device", s.device) : s.device;
    std::string cost, command = r.command.empty() ? s.command : r.command;
    for (const auto& [k, v] : s.cost_params) cost += (cost.empty() ? "" : ", ") + k + "=" + v;
    body += "<div class=\"run\"><h3>" +
            escape(shorten((r.analysis.empty() ? s.analysis : r.analysis) + " on " + model, 160)) + "</h3>";
    body += command.empty() ? "<p class=\"note\">No command line is stored: the run was started in the desktop app.</p>"
                            : "<pre><code>" + escape(shorten(command, 8000)) + "</code></pre>";
    body += "<div class=\"tw\"><table class=\"facts\"><tbody>";
    body += code_row("parameters", params_text(r)) + code_row("cost only (not in the key)", cost);
    body += code_row("key", r.key_hash) + code_row("weights", s.weights_hash) + code_row("tokenizer", s.tokenizer_hash);
    body += code_row("data set", (r.dataset_name.empty() ? s.dataset_name : r.dataset_name) +
                                     (s.dataset_hash.empty() ? "" : " " + s.dataset_hash));
    body += code_row("numerics", s.dtype + (s.tf32 ? ", TF32" : ", no TF32") + ", mixer form " + s.form +
                                     ", start token " + s.bos + ", seed " + std::to_string(s.seed));
    if (s.interventions != "[]") body += code_row("interventions", s.interventions);
    body += code_row("plug-in", s.plugin_hash) + code_row("device", device);
    if (attempt) {
      const Json* seconds = find_key(*attempt, "seconds");
      body += code_row("versions", versions_text(*attempt));
      body += code_row("time", seconds && seconds->is_number() ? number(seconds->get<double>()) + " s" : "");
      if (const Json* events = find_key(*attempt, "events")) {
        std::string all;
        for (const std::string& e : token_list(events)) all += (all.empty() ? "" : "; ") + e;
        body += code_row("events", all);
      }
    }
    body += code_row("run", std::to_string(r.id) + (r.created.empty() ? "" : ", made " + r.created)) +
            "</tbody></table></div></div>";
  }
  return section("repeat", "How to repeat", body);
}

}  // namespace microtome::report
