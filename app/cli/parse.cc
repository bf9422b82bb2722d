// The one file that sees CLI11.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <functional>
#include <memory>

#include "app/cli/command_line.h"

namespace microtome::cli {
namespace {

// One sub-command under construction: options land in the CommandLine under their own names.
class Builder {
 public:
  Builder(CLI::App& app, CommandLine& line, const char* name, const char* about, const std::string& example) : line_(line) {
    sub_ = app.add_subcommand(name, about);
    sub_->footer("Example:\n  " + example);
    sub_->callback([this, name] { line_.command = name; });
  }
  Builder& option(const std::string& name, const std::string& help, bool required = false) {
    auto* o = sub_->add_option_function<std::string>(name, [this, name](const std::string& v) { line_.options[name] = v; }, help);
    if (required) o->required();
    return *this;
  }
  Builder& choice(const std::string& name, const std::string& help, std::vector<std::string> values) {
    sub_->add_option_function<std::string>(name, [this, name](const std::string& v) { line_.options[name] = v; }, help)
        ->check(CLI::IsMember(values));
    return *this;
  }
  Builder& number(const std::string& name, const std::string& help, double lo, double hi) {
    sub_->add_option_function<std::string>(name, [this, name](const std::string& v) { line_.options[name] = v; }, help)
        ->check(CLI::Range(lo, hi));
    return *this;
  }
  Builder& repeated(const std::string& name, const std::string& help) {
    sub_->add_option_function<std::vector<std::string>>(
            name, [this, name](const std::vector<std::string>& v) { line_.lists[name] = v; }, help)
        ->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
    return *this;
  }
  Builder& flag(const std::string& name, const std::string& help) {
    sub_->add_flag_callback(name, [this, name] { line_.flags.insert(name); }, help);
    return *this;
  }
  Builder& words(const std::string& name, const std::string& help, int min, int max) {
    if (max == 1) {
      // A single word is a plain option: a second one then counts as an extra, not as too many.
      sub_->add_option_function<std::string>(name, [this](const std::string& v) { line_.words = {v}; }, help)->required(min > 0);
      return *this;
    }
    sub_->add_option_function<std::vector<std::string>>(
            name, [this](const std::vector<std::string>& v) { line_.words = v; }, help)
        ->expected(min, max)->required(min > 0);
    return *this;
  }
  // Words of which the first is one of these; they stand in the usage line as NAME CIRCUIT….
  Builder& first_word(const std::string& name, const std::string& help, std::vector<std::string> values, const char* rest = "CIRCUIT", const char* about = "one circuit or more") {
    sub_->add_option_function<std::string>(name, [this](const std::string& v) { line_.words.insert(line_.words.begin(), v); }, help)
        ->required()->check(CLI::IsMember(values));
    sub_->add_option_function<std::vector<std::string>>(
            rest, [this](const std::vector<std::string>& v) { line_.words.insert(line_.words.end(), v.begin(), v.end()); }, about)
        ->required()->expected(1, -1);
    return *this;
  }
  Builder& extras() {
    sub_->allow_extras();
    takes_extras_ = true;
    return *this;
  }
  Builder& json() { return flag("--json", "machine-readable output"); }
  Builder& compute() {
    option("--device", "auto, cpu or cuda:N (default auto)");
    choice("--dtype", "type of the computation (default float32)", {"float32", "float64", "bfloat16", "float16"});
    choice("--weights", "where blocks keep their weights: on the device (resident), there in the file's type (stored), in the "
           "file (stream); default auto: the first that fits", {"auto", "resident", "stored", "stream"});
    flag("--tf32", "allow TF32 in matrix products and convolutions (off by default)");
    number("--seed", "seed of everything random (default 0)", 0, 9.007199254740992e15);
    return number("--threads", "CPU threads (default: as LibTorch chooses)", 0, 1024);
  }
  Builder& start_token() { return choice("--bos", "put the start token in front of text (default auto)", {"auto", "on", "off"}); }
  Builder& form() { return choice("--form", "form of the mixers (default auto: the fastest that can serve)", {"auto", "naive", "chunk", "recurrent"}); }
  CLI::App* sub() { return sub_; }
  bool takes_extras() const { return takes_extras_; }

 private:
  CommandLine& line_;
  CLI::App* sub_;
  bool takes_extras_ = false;
};

std::string quoted(int argc, char** argv) {
  std::string out = "microtome";
  for (int i = 1; i < argc; ++i) {
    std::string a = argv[i];
    bool plain = !a.empty() && a.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,@%+") == std::string::npos;
    if (!plain) {
      std::string q = "'";
      for (char c : a) q += c == '\'' ? std::string("'\\''") : std::string(1, c);
      a = q + "'";
    }
    out += " " + a;
  }
  return out;
}

}  // namespace

Parsed parse(int argc, char** argv) {
  Parsed out;
  CommandLine& line = out.line;
  line.text = quoted(argc, argv);
  CLI::App app("Microtome: a workbench for mechanistic interpretability of softmax and linear-attention language models.", "microtome");
  app.set_version_flag("--version", "microtome " MICROTOME_VERSION);
  app.require_subcommand(1);
  app.footer("Start with `microtome demo`. Every command has --help with an example.");
  std::vector<std::unique_ptr<Builder>> all;
  auto add = [&](const char* name, const char* about, const char* example) -> Builder& {
    all.push_back(std::make_unique<Builder>(app, line, name, about, example));
    return *all.back();
  };

  add("doctor", "what this machine and this build can do, and a self-test of the numerics", "microtome doctor").json();
  add("inspect", "configuration, tokenizer and hook points of a model folder, or the tensors of one file; reads no weights",
      "microtome inspect resources/models/zoo-llama").words("MODEL", "a model folder or one .safetensors file", 1, 1)
      .flag("--hooks", "list every hook point, not a summary").json();
  add("tokenize", "text to token ids and pieces, or back", "microtome tokenize --model resources/models/zoo-llama 'When Mary and John'")
      .words("TEXT", "the text, or ids with --decode", 0, -1).option("--model", "a model folder").option("--tokenizer", "a tokenizer.json")
      .option("--texts", "a JSON list of strings").flag("--no-special", "add no special tokens").flag("--decode", "ids to text").json();
  add("forward", "run a model and keep logits and captured points",
      "microtome forward --model resources/models/zoo-llama --prompt 'Mary gave' --capture 'blocks.*.attn.hook_pattern' --out out.safetensors")
      .option("--model", "a model folder", true).option("--prompt", "text").option("--ids", "a JSON file [[1,2,…],…]")
      .option("--ids-from", "a safetensors file of int64 ids, FILE[:NAME]")
      .repeated("--capture", "hook pattern, with @p,p,… for positions (negative: from the end)")
      .choice("--keep-as", "type in which captured points are kept and written (default: as they are; patterns are float32 in 16-bit models)", {"float32", "float64", "bfloat16", "float16"})
      .option("--intervene", "a JSON file of interventions").form().start_token().compute()
      .option("--out", "the safetensors file to write", true);
  add("mixer", "one token mixer on given tensors",
      "microtome mixer gated_delta_rule --inputs gated_delta_rule.safetensors:c0 --states --implied --out o.safetensors")
      .words("NAME", "a mixer, by the stem of its reference file or a family's name", 1, 1)
      .option("--inputs", "a safetensors file, FILE[:CASE]", true).repeated("--set", "a scalar, key=value").form()
      .flag("--states", "also every state").flag("--implied", "also the implied attention matrix A").compute()
      .option("--out", "the safetensors file to write", true);
  add("generate", "continue a prompt with the key/value cache or the recurrent state",
      "microtome generate --model resources/models/zoo-gated_deltanet --prompt 'When Mary and John went to the store, John gave a book to' --max-new 3")
      .option("--model", "a model folder", true).option("--prompt", "text", true)
      .number("--max-new", "tokens to add (default 32)", 1, 1048576).number("--temperature", "0 takes the best token (default 0)", 0, 100)
      .form().start_token().compute().json();
  add("analyses", "the analyses, or one of them with its parameters", "microtome analyses activation_patching")
      .words("NAME", "an analysis", 0, 1).json();
  add("run", "run one analysis; each of its parameters is also a flag (`microtome analyses NAME`)",
      "microtome run activation_patching --model resources/models/zoo-llama --task ioi --site z --project ioi.microtome")
      .words("ANALYSIS", "an analysis", 1, 1).option("--model", "a model folder", true)
      .option("--task", "a built-in task (`microtome tasks`)").option("--dataset", "a JSON-lines file of prompt pairs")
      .option("--prompt", "one prompt as text").option("--corrupted", "with --prompt: the same prompt, corrupted")
      .repeated("--answer", "with --prompt: a right answer, one token, its blank included").repeated("--wrong", "with --prompt: a wrong answer")
      .number("--prompts", "how many prompts a task makes (default 32), or how many lines are read", 1, 1000000)
      .number("--only", "only this one of the task's or the file's prompts, from 1", 1, 1000000)
      .choice("--templates", "a task's templates (default known)", {"known", "held_out"})
      .repeated("--task-set", "a setting of the task, key=value").repeated("--set", "a parameter, key=value")
      .option("--project", "the project file to keep the run in").option("--out", "a folder for result.json and tensors.safetensors")
      .flag("--drop-unequal", "leave out pairs of unequal length, with a warning").flag("--again", "compute even when the project has the answer")
      .form().start_token().compute().json().extras();
  add("train", "train sparse dictionaries as a file says; goes on where it was when it is called again",
      "microtome train sae my-sae.json, with my-sae.json:\n"
      "  {\"model\": \"resources/models/zoo-llama\", \"corpus\": \"text.txt\", \"hook\": \"blocks.2.hook_resid_post\",\n"
      "   \"kind\": \"topk\", \"k\": 32, \"tokens\": 5000000, \"project\": \"my-sae.microtome\", \"out\": \"my-sae\"}\n"
      "  Other fields are parameters of the analysis (`microtome analyses sae`), or device, dtype, tf32, seed, threads, form, weights.\n"
      "  Paths are meant from the folder of the file. Without project and out: FILE.microtome, FILE-dictionaries beside it. \"format\": saelens, sparsify or circuit_tracer (default: the first that can hold it)")
      .first_word("WHAT", "sae: autoencoders of a point; transcoder: replacements of MLPs", {"sae", "transcoder"}, "SPEC.json", "what to train on what")
      .flag("--again", "start anew even when the project has the answer, or a checkpoint").start_token().compute();
  add("tasks", "the built-in tasks, or prompts of one", "microtome tasks ioi --model resources/models/zoo-llama --generate 5")
      .words("NAME", "a task", 0, 1).option("--model", "a model folder whose tokenizer the words must fit")
      .number("--generate", "how many pairs to make", 1, 1000000).number("--seed", "seed (default 0)", 0, 9.007199254740992e15)
      .choice("--templates", "known or held_out (default known)", {"known", "held_out"})
      .repeated("--set", "a setting of the task, key=value").option("--out", "the JSON-lines file to write (default: standard output)").start_token().json();
  add("runs", "the runs of a project", "microtome runs --project ioi.microtome").option("--project", "a project file", true).json();
  add("show", "one run: summary, findings, tables, attempts", "microtome show 3 --project ioi.microtome")
      .words("RUN", "its number or the beginning of its key", 1, 1).option("--project", "a project file", true).json();
  add("explain", "what a run's key was made of", "microtome explain 3 --project ioi.microtome")
      .words("RUN", "its number or the beginning of its key", 1, 1).option("--project", "a project file", true).json();
  add("diff", "how two runs differ", "microtome diff 3 4 --project ioi.microtome")
      .words("RUN", "two runs", 2, 2).option("--project", "a project file", true).json();
  add("gc", "remove tensors that no run refers to", "microtome gc --project ioi.microtome")
      .option("--project", "a project file", true).flag("--trash", "first remove the runs in the trash for good")
      .flag("--dry-run", "only say what would go").json();
  add("export", "a result in another format", "microtome export 3 --project ioi.microtome --format csv --out patching.csv")
      .words("RUN", "its number or the beginning of its key", 1, 1).option("--project", "a project file", true)
      .choice("--format", "format (default json)", {"json", "csv", "safetensors", "dot", "svg", "graphml", "mib", "neuronpedia", "saelens", "circuit_tracer", "sparsify"})
      .option("--artifact", "only this table, array map, circuit, graph or dictionary of the run")
      .option("--max-size", "neuronpedia: megabytes the file may have; the weakest links are left out (default 20)")
      .option("--slug", "neuronpedia: the graph's name there").option("--scan", "neuronpedia: the model's name there (gemma-2-2b)")
      .flag("--all-edges", "dot, graphml: also edges outside the circuit")
      .option("--out", "the file to write, or the folder: for csv, dictionaries, and where a run holds several circuits", true);
  add("circuit", "operations on circuits: files in the MIB form (JSON), or runs of a project",
      "microtome circuit top eap.json --n 100 --prune --out small.json\n"
      "  microtome circuit threshold 3 --project ioi.microtome --at 0.01 --out small.svg\n"
      "  microtome circuit intersection softmax.json linear.json --out both.json\n"
      "  microtome circuit group small.json --name 'name movers' --nodes a9.h9,a10.h0 --out named.json\n"
      "  microtome circuit compare 3 4:circuit --project ioi.microtome")
      .first_word("OPERATION", "top: the strongest edges (--n or --percent); threshold: edges of at least --at; prune: only ways from input to logits; "
             "union, intersection, difference: of two or more; group: name nodes (--name, --nodes); show; compare: overlap of two",
             {"top", "threshold", "prune", "union", "intersection", "difference", "group", "show", "compare"})
      .option("--project", "a project file; circuits are then runs (number or key, with :NAME where a run holds several) or files")
      .option("--artifact", "the circuit's name, where a run holds several").option("--n", "top: how many edges").option("--percent", "top: share of all edges, 0 to 100")
      .option("--at", "threshold: the least score").choice("--by", "rank by size of the score or with its sign (default magnitude)", {"magnitude", "score"})
      .flag("--within", "top, threshold: choose only among edges that belong already").flag("--prune", "then cut dead ends")
      .option("--name", "group: its name; without one the nodes leave their groups").option("--nodes", "group: nodes, with commas")
      .option("--edges", "show: how many edges (default 20, all with --json)")
      .choice("--format", "form of --out (default: by its ending, else mib)", {"mib", "dot", "svg", "graphml", "csv"})
      .flag("--all-edges", "dot, graphml: also edges outside the circuit").option("--out", "the file to write").json();
  add("features", "the feature dashboards of a run of `microtome run features`: search, look at one, label, write HTML",
      "microtome features 3 --project sae.microtome --search 'monday density<0.01' --sort max\n"
      "  microtome features 3 --project sae.microtome --feature 512\n"
      "  microtome features 3 --project sae.microtome --label 512='days of the week' --html pages")
      .words("RUN", "its number or the beginning of its key", 1, 1).option("--project", "a project file", true)
      .option("--search", "words or \"text\" in examples and labels, token:\" the\", label:text, density>0.01, max<3, mean, index, sort:max; all must hold")
      .option("--sort", "density, max, mean or index; with - in front the other way round").number("--limit", "at most so many (default 20; with --html all)", 1, 1e9)
      .option("--feature", "only this one, whole").repeated("--label", "NUMBER=TEXT: a feature's label; an empty text takes it away")
      .option("--html", "a folder for a page a feature and an index, or one file that ends in .html").json();
  add("dictionary", "sparse dictionaries (SAEs, transcoders) in files: look at them, convert them",
      "microtome dictionary show my-sae --model resources/models/zoo-llama\n"
      "  microtome dictionary convert my-transcoders --to circuit_tracer --out for-circuit-tracer")
      .first_word("OPERATION", "show: kind, sizes, points, norms and thresholds; convert: into another format (--to, --out)", {"show", "convert"}, "PATH",
                  "a folder or file of SAELens, circuit-tracer, sparsify, dictionary_learning or Gemma Scope; or a folder of such folders")
      .choice("--from", "format of PATH (default auto)", {"auto", "saelens", "circuit_tracer", "sparsify", "dictionary_learning", "gemma_scope"})
      .option("--model", "show: a model folder that it must fit").choice("--to", "convert: format of --out", {"saelens", "circuit_tracer", "sparsify"})
      .option("--out", "convert: the folder to make").json();
  add("report", "a report of runs in one file a colleague can read", "microtome report --project ioi.microtome --out ioi.html")
      .words("RUN", "runs (default: all that are done)", 0, -1).option("--project", "a project file", true)
      .choice("--format", "format (default html)", {"html", "md", "pdf"}).option("--title", "title").option("--question", "the question, one sentence")
      .option("--notes", "a Markdown file to include").option("--out", "the file to write", true);
  add("bench", "benchmark workloads; JSON with device, versions, shapes, medians and physical limits", "microtome bench patching --device cpu")
      .words("NAME", "forward, patching, decode, circuits, mixers, attention, kernels, training … or all (default); with --table files that --out wrote", 0, 64)
      .option("--model", "a model folder (default: random weights of GPT-2-small shape)")
      .flag("--small", "small shapes, for a quick look").flag("--quick", "leave out what takes more than half a minute").option("--out", "a file for the JSON (default: standard output); with --table the file whose table is replaced")
      .flag("--table", "the README's table of speed from files, printed or put in its place in --out").compute();
  add("demo", "the main job on the two models that ship with Microtome, ending with a report", "microtome demo --out demo-out")
      .option("--out", "the folder for report and project (default demo-out)").option("--models", "a folder with zoo-llama and zoo-gated_deltanet")
      .number("--prompts", "prompts a task (default 32)", 4, 100000).compute();

  try {
    app.parse(argc, argv);
    for (auto& b : all)
      if (b->sub()->parsed() && b->takes_extras()) line.extras = b->sub()->remaining();
  } catch (const CLI::CallForHelp& e) {
    out.exit_code = app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    out.exit_code = app.exit(e);
  } catch (const CLI::CallForAllHelp& e) {
    out.exit_code = app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "microtome: error: %s (command line): see `microtome --help`\n", e.what());
    out.exit_code = 2;
  }
  return out;
}

}  // namespace microtome::cli
