// circuit: operations on circuits, from files in the MIB form or from runs of a project.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "app/cli/commands/commands.h"
#include "app/report/circuit_svg.h"
#include "app/report/circuit_text.h"
#include "app/report/html.h"
#include "app/report/project_report.h"
#include "core/base/circuit_ops.h"
#include "core/base/quote.h"
#include "core/io/circuit_file.h"

namespace microtome::cli {
namespace {

[[noreturn]] void usage(const std::string& what, const std::string& todo) { throw Error(StatusCode::kBadInput, what, "circuit", todo); }

struct Loaded {
  Circuit circuit;
  Json context = Json::object();       // of its run
};

// Runs are asked for by number or key, with :NAME where a run holds several circuits.
Loaded from_run(const CommandLine& line, const std::string& word) {
  const size_t colon = word.find(':');
  const std::string run = word.substr(0, colon), wanted = colon == std::string::npos ? line.get("--artifact") : word.substr(colon + 1);
  auto store = open_project(line);
  const RunRecord r = store->find_run(run).value();
  require_done(r);
  ReportRun loaded = report::load_run(*store, r);
  std::vector<Circuit*> found;
  std::string names;
  for (Artifact& a : loaded.result.artifacts) {
    auto* c = std::get_if<Circuit>(&a);
    if (!c) continue;
    names += (names.empty() ? "" : ", ") + in_quotes(c->name, 60);
    if (wanted.empty() || c->name == wanted) found.push_back(c);
  }
  if (found.empty()) {
    if (names.empty()) usage("run " + run + " holds no circuit", "choose a run of an analysis that makes one");
    throw Error(StatusCode::kNotFound, "run " + run + " holds no circuit " + in_quotes(wanted), "circuit", "it holds " + names);
  }
  if (found.size() > 1) usage("run " + run + " holds " + std::to_string(found.size()) + " circuits: " + names, "name one: " + run + ":NAME or --artifact NAME");
  return {std::move(*found[0]), std::move(loaded.context)};
}

Loaded load(const CommandLine& line, const std::string& word) {
  std::error_code ignored;
  if (!line.has("--project") || std::filesystem::exists(word, ignored)) {
    if (!line.has("--project") && !std::filesystem::exists(word, ignored) && word.find_first_not_of("0123456789") == std::string::npos)
      usage("there is no file " + in_quotes(word), "a run is named with its project: --project FILE.microtome");
    return {read_circuit_file(word).value(), Json::object()};
  }
  return from_run(line, word);
}

double real(const CommandLine& line, const std::string& option) {
  const std::string text = line.get(option);
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size() || std::isnan(v)) usage(option + " is " + in_quotes(text), "give a number");
  return v;
}

EdgeChoice choice_of(const CommandLine& line) { return {line.get("--by") == "score" ? RankBy::kScore : RankBy::kMagnitude, line.flag("--within")}; }

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    std::string part = text.substr(at, comma - at);
    const size_t a = part.find_first_not_of(' '), b = part.find_last_not_of(' ');
    if (a != std::string::npos) out.push_back(part.substr(a, b - a + 1));
    at = comma + 1;
  }
  return out;
}

std::string format_of(const CommandLine& line) {
  if (line.has("--format")) return line.get("--format");
  const std::string ending = std::filesystem::path(line.get("--out")).extension().string();
  if (ending == ".gv") return "dot";
  for (const char* f : {"dot", "svg", "graphml", "csv"})
    if (ending == std::string(".") + f) return f;
  return "mib";
}

std::string one_line(std::string s) {
  for (char& c : s)
    if (c == '\n' || c == '\t') c = ' ';
  return s;
}
// A name fit for a terminal, whoever wrote it: one line, nothing that moves the cursor.
std::string plain(const std::string& name) { return one_line(report::shorten(name, 200)); }

std::string counted(int64_t n, const char* what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

int write(const CommandLine& line, const Circuit& c, const Json& context) {
  const std::string out = line.get("--out");
  check(write_text_file(out, circuit_text(c, format_of(line), line.flag("--all-edges"), context)));
  const CircuitCounts n = count_circuit(c);
  std::fprintf(stderr, "%s: %s of %lld, %s\n", out.c_str(), counted(n.edges, "edge").c_str(), static_cast<long long>(n.all_edges), counted(n.nodes, "node").c_str());
  return 0;
}

Circuit choose(const CommandLine& line, const std::string& operation, Circuit c) {
  if (operation == "top") {
    if (line.has("--n") == line.has("--percent")) usage("'top' takes either --n or --percent", "for example --n 100");
    const double n = line.has("--n") ? real(line, "--n") : std::round(real(line, "--percent") / 100 * static_cast<double>(c.edges.size()));
    if (n < 0 || n > 1e15 || (line.has("--percent") && real(line, "--percent") > 100)) usage("the number of edges is out of range", "--n from 0, --percent from 0 to 100");
    return top_edges(std::move(c), static_cast<int64_t>(n), choice_of(line));
  }
  if (operation == "threshold") {
    if (!line.has("--at")) usage("'threshold' needs --at", "for example --at 0.01");
    return threshold_edges(std::move(c), real(line, "--at"), choice_of(line));
  }
  const std::vector<std::string> nodes = split(line.get("--nodes"));
  if (nodes.empty()) usage("'group' needs --nodes", "for example --name 'name movers' --nodes a9.h9,a10.h0; without --name the nodes leave their groups");
  if (line.get("--name").size() > kMostGroupName) usage("the name of the group is too long", "at most " + std::to_string(kMostGroupName) + " bytes");
  return set_group(std::move(c), line.get("--name"), nodes);
}

Json overlap_json(const Overlap& o) {
  return {{"a", o.a}, {"b", o.b}, {"both", o.both}, {"jaccard", std::isnan(o.jaccard()) ? Json(nullptr) : Json(o.jaccard())}};
}

int compare(const CommandLine& line, const Circuit& a, const Circuit& b) {
  const CircuitOverlap o = compare_circuits(a, b);
  if (line.flag("--json")) {
    print_json({{"edges", overlap_json(o.edges)}, {"nodes", overlap_json(o.nodes)}, {"heads", overlap_json(o.heads)}});
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [what, x] : {std::pair("edges", o.edges), {"nodes", o.nodes}, {"heads", o.heads}})
    rows.push_back({what, std::to_string(x.a), std::to_string(x.b), std::to_string(x.both), number_text(x.jaccard())});
  print_table({"", "A", "B", "both", "Jaccard"}, rows);
  return 0;
}

Json score_json(double v) { return std::isfinite(v) ? Json(v) : Json(nullptr); }

int show(const CommandLine& line, const Circuit& c) {
  const int64_t most = line.has("--edges") ? static_cast<int64_t>(real(line, "--edges")) : 20;
  if (!line.flag("--json")) {
    if (!c.title.empty() || !c.name.empty()) std::printf("%s\n", plain(c.title.empty() ? c.name : c.title).c_str());
    print_circuit(c, most);
    return 0;
  }
  const CircuitCounts n = count_circuit(c);
  const CircuitIndex index(c);
  Json ports = Json::object(), nodes = Json::array(), groups = Json::array(), edges = Json::array();
  for (const auto& [port, count] : n.ports) ports[port] = count;
  for (const auto& node : c.nodes)
    if (node.in_graph) nodes.push_back({{"name", node.name}, {"score", score_json(node.score)}});
  for (const auto& g : c.groups) groups.push_back({{"name", g.name}, {"nodes", g.nodes}});
  for (size_t e : edges_by_strength(c, index)) {
    if (line.has("--edges") && static_cast<int64_t>(edges.size()) >= most) break;
    edges.push_back({{"from", c.edges[e].from}, {"to", c.edges[e].to}, {"score", score_json(c.edges[e].score)}});
  }
  print_json({{"name", c.name}, {"title", c.title}, {"n_layers", c.n_layers}, {"n_heads", c.n_heads}, {"d_model", c.d_model},
              {"counts", {{"edges", n.edges}, {"all_edges", n.all_edges}, {"nodes", n.nodes}, {"all_nodes", n.all_nodes}, {"heads", n.heads}, {"mixers", n.mixers}, {"mlps", n.mlps}}},
              {"ports", ports}, {"nodes", nodes}, {"groups", groups}, {"edges", edges}});
  return 0;
}

}  // namespace

std::string circuit_text(const Circuit& c, const std::string& format, bool all_edges, const Json& context) {
  if (format == "mib") return circuit_to_mib(c);
  if (format == "dot") return report::circuit_dot(c, all_edges);
  if (format == "graphml") return report::circuit_graphml(c, all_edges);
  if (format == "csv") return report::circuit_csv(c);
  ReportRun run;
  run.context = context;
  const std::vector<ReportRun> runs = {run};
  const report::ReportIndex index = report::make_index(runs);
  report::CircuitLook look;
  look.model = index.models.empty() ? nullptr : &index.models.front();
  look.standalone = true;
  const report::CircuitPicture picture = report::circuit_svg(c, look);
  if (picture.svg.empty()) throw Error(StatusCode::kBadInput, "nothing belongs to the circuit " + in_quotes(c.name), "svg", "choose edges first: `microtome circuit top A --n 100`");
  std::fprintf(stderr, "%s\n", picture.caption.c_str());
  return picture.svg + "\n";
}

void print_circuit(const Circuit& c, int64_t most) {
  const CircuitCounts n = count_circuit(c);
  const auto ll = [](int64_t v) { return static_cast<long long>(v); };
  std::printf("%lld of %lld edges and %lld of %lld nodes belong: %s, %s%s\n", ll(n.edges), ll(n.all_edges), ll(n.nodes), ll(n.all_nodes), counted(n.heads, "head").c_str(),
              n.mixers ? (counted(n.mixers, "whole mixer") + ", ").c_str() : "", counted(n.mlps, "MLP").c_str());
  std::string ports;
  for (const auto& [port, count] : n.ports)
    if (!port.empty()) ports += (ports.empty() ? "" : ", ") + plain(port) + " " + std::to_string(count);
  if (!ports.empty()) std::printf("edges by input of a head: %s\n", ports.c_str());
  for (const auto& g : c.groups) {
    std::string nodes;
    for (const auto& name : g.nodes) nodes += (nodes.empty() ? "" : ", ") + plain(name);
    std::printf("group %s: %s\n", in_quotes(g.name).c_str(), nodes.c_str());
  }
  const CircuitIndex index(c);
  std::vector<std::vector<std::string>> rows;
  for (size_t e : edges_by_strength(c, index)) {
    if (static_cast<int64_t>(rows.size()) >= most) break;
    rows.push_back({plain(c.edges[e].from), plain(c.edges[e].to), number_text(c.edges[e].score)});
  }
  if (rows.empty()) return;
  print_table({"from", "to", "score"}, rows);
  if (n.edges > static_cast<int64_t>(rows.size())) std::printf("… and %lld weaker edges\n", ll(n.edges - static_cast<int64_t>(rows.size())));
}

int circuit_command(const CommandLine& line) {
  const std::string operation = line.word(0);
  const bool set = operation == "union" || operation == "intersection" || operation == "difference", two = operation == "compare";
  const bool makes = operation != "show" && !two;
  const size_t given = line.words.size() - 1;
  if (set || two ? given < 2 || (two && given > 2) : given != 1)
    usage("'" + operation + "' takes " + (set ? "two or more circuits" : two ? "two circuits" : "one circuit") + ", " + std::to_string(given) + " given", "see `microtome circuit --help`");
  if (makes && !line.has("--out")) usage("'" + operation + "' needs --out", "name the file to write: --out circuit.json");
  Loaded first = load(line, line.word(1));
  if (operation == "show") return show(line, first.circuit);
  if (two) return compare(line, first.circuit, load(line, line.word(2)).circuit);
  Circuit c = std::move(first.circuit);
  if (set) {
    for (size_t i = 2; i < line.words.size(); ++i) {
      const Circuit other = load(line, line.word(i)).circuit;
      c = operation == "union" ? unite(c, other) : operation == "intersection" ? intersect(c, other) : subtract(c, other);
    }
  } else if (operation != "prune") {
    c = choose(line, operation, std::move(c));
  }
  if (operation == "prune" || line.flag("--prune")) {
    PrunedCircuit p = prune_dead_ends(std::move(c));
    std::fprintf(stderr, "pruned: %s and %s\n", counted(p.edges, "edge").c_str(), counted(p.nodes, "node").c_str());
    c = std::move(p.circuit);
  }
  return write(line, c, first.context);
}

}  // namespace microtome::cli
