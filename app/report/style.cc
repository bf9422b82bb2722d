#include "app/report/style.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "app/report/attribution_svg.h"
#include "app/report/circuit_svg.h"
#include "app/report/feature_html.h"
#include "app/report/html.h"
#include "app/report/svg_heatmap.h"
#include "core/base/sha256.h"

namespace microtome::report {
namespace {

// The colours of softmax and recurrent layers are the desktop app's.
constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f27;--dim:#5c6470;--line:#d9dde4;--soft:#f4f6f9;--accent:#2b4fc2;
--softmax:#9a5b00;--softmax-bg:#fbe7c6;--recurrent:#007a5e;--recurrent-bg:#d5efeb;--warn:#9a3412;--mark:#ffe08a;
--na:#e3e6eb;--na2:#b4bac4;--pos:#2166ac;--neg:#b2182b;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#8f7400;--c5:#3a9bd9;--c6:#555;--c7:#7b4fb5}
@media screen and (prefers-color-scheme:dark){:root{--bg:#14171c;--fg:#e6e9ee;--dim:#9aa3b0;--line:#313742;
--soft:#1d222a;
--accent:#9db4ff;--softmax:#f0a848;--softmax-bg:#43300f;--recurrent:#3fc7a0;--recurrent-bg:#123a37;--warn:#fdba74;
--mark:#6b5200;--na:#2b313b;--na2:#525b69;--pos:#74b4e8;--neg:#f4826f;
--c0:#56b4e9;--c1:#ff8f4a;--c2:#2fd0a0;--c3:#e7a1c9;--c4:#e5cf4f;--c5:#9ad1f5;--c6:#bbb;--c7:#b796ea}
svg .px{opacity:.94}}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
body{margin:0;background:var(--bg);color:var(--fg);
font:15px/24px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,header,footer,nav{max-width:1280px;margin:0 auto;padding:0 40px}
header{padding-top:48px}
.kick{color:var(--dim);font-size:13px;letter-spacing:.06em;text-transform:uppercase;margin:0 0 8px}
h1{font-size:34px;line-height:40px;margin:0 0 16px;font-weight:650;letter-spacing:-.01em}
h2{font-size:23px;line-height:32px;margin:0 0 8px;font-weight:640}
h3{font-size:17px;line-height:24px;margin:32px 0 8px;font-weight:620}
h4{font-size:15px;line-height:24px;margin:24px 0 8px;font-weight:620}
h5{font-size:14px;margin:16px 0 8px}
p{margin:0 0 16px;max-width:82ch}
.q{font-size:19px;line-height:28px;max-width:72ch;margin:0 0 16px}
.meta,.note,figcaption,.src{color:var(--dim);font-size:13px;line-height:20px}
section{padding-top:32px;margin-top:40px;border-top:1px solid var(--line)}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
nav ol{columns:3;column-gap:40px;margin:24px 0 0;padding:16px 0 0 20px;border-top:1px solid var(--line);
font-size:14px}
nav li{break-inside:avoid}
code,pre,.tok,.mono{font-family:ui-monospace,"SF Mono","Cascadia Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font-size:.9em;background:var(--soft);padding:0 4px;border-radius:3px;overflow-wrap:anywhere}
pre{background:var(--soft);padding:8px 16px;margin:0 0 8px;border-radius:4px;font-size:13px;line-height:20px;
white-space:pre-wrap;overflow-wrap:anywhere}
pre code{background:none;padding:0;font-size:1em}
ul,.text ol{margin:0 0 16px;padding-left:20px;max-width:82ch}
li{margin-bottom:4px}
.found{list-style:none;padding:0;margin-top:16px;max-width:92ch}
.found li{margin:0 0 12px;padding-left:16px;border-left:3px solid var(--accent)}
.found p{margin:0 0 2px}
.found .by{color:var(--dim);font-size:13px;display:block;line-height:20px}
.warn{color:var(--warn);font-size:14px;margin:0 0 8px}.src{margin:0 0 4px}h2+.note,h3+.note{margin-bottom:8px}
.note{max-width:none}
.warn b{font-weight:640}
table{border-collapse:collapse;font-size:13.5px;line-height:20px}
.tw{overflow:auto;max-height:488px;max-width:100%;margin:0 0 8px}
th,td{padding:2px 12px 2px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{position:sticky;top:0;background:var(--bg);font-weight:600;vertical-align:bottom;white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th.n{padding-left:8px}
th[title]{text-decoration:underline dotted var(--dim);text-underline-offset:3px;cursor:help}
.js th.so{cursor:pointer}
.js th.so:hover{color:var(--accent)}
th[aria-sort]:after{content:" \2191";color:var(--accent)}th[aria-sort=descending]:after{content:" \2193"}
.unit,.ci{color:var(--dim);font-weight:400;font-size:12px}
.facts th{font-weight:400;color:var(--dim);white-space:nowrap;padding-right:24px}
.facts td{padding-right:32px;overflow-wrap:anywhere}
.facts thead th{color:var(--fg);font-weight:600}
.cols{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:8px 40px;align-items:start}.cols.wide{grid-template-columns:1fr}
.cols>div{min-width:0}
.figs{display:flex;flex-wrap:wrap;gap:16px 40px;align-items:flex-start}
figure{margin:0 0 16px;max-width:100%;min-width:0}
figure.wide{width:100%}
figcaption{width:0;min-width:max(100%,264px);margin-bottom:8px}
figure.wide figcaption{width:auto;min-width:0;max-width:100ch}
figcaption b{color:var(--fg);font-weight:620;font-size:14px}
.panels{display:flex;flex-wrap:wrap;gap:16px 24px;align-items:flex-start}
.panel{max-width:100%;min-width:0}
.big{display:flex;flex-wrap:wrap;gap:16px 16px}
.who{font-size:13px;line-height:20px;font-weight:600;margin:0 0 4px}
.m-s,.m-r,.m-h{display:inline-block;width:9px;height:9px;border-radius:2px;margin-right:6px;background:var(--softmax);
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.m-r{background:var(--recurrent)}.m-h{background:linear-gradient(90deg,var(--softmax) 50%,var(--recurrent) 50%)}
.legend{max-width:none;font-size:13px;color:var(--dim);margin:8px 0 16px}.legend span{margin-right:24px;
white-space:nowrap}
.strip{display:flex;flex-wrap:wrap;gap:4px;margin:0}
.lay{font-size:12px;line-height:20px;padding:0 8px;border-radius:3px;background:var(--soft);white-space:nowrap;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.lay.s{background:var(--softmax-bg);color:var(--softmax)}.lay.r{background:var(--recurrent-bg);color:var(--recurrent)}
.prompt{margin:0 0 24px}
.toks{display:flex;flex-wrap:wrap;gap:0 2px;align-items:flex-end;margin:0 0 4px}
.col{display:flex;flex-direction:column;gap:2px}
.pl{font-size:11px;line-height:16px;height:16px;color:var(--accent);text-align:center;white-space:nowrap}
.tok{display:inline-block;vertical-align:middle;font-size:13px;line-height:22px;padding:0 4px;border-radius:3px;
background:var(--soft);white-space:pre;unicode-bidi:isolate;max-width:240px;overflow:hidden;text-overflow:ellipsis;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.tok.same{color:var(--dim);background:none}
.tok.diff{background:var(--mark)}
.tok.ans{background:var(--accent);color:var(--bg)}
.rowname{font-size:11px;line-height:22px;color:var(--dim);padding-right:8px;text-align:right}
.cap{font-size:13px;line-height:24px;color:var(--dim);margin:0 0 4px}
details{margin:0 0 16px}summary{cursor:pointer;color:var(--accent);font-size:14px;margin-bottom:8px}
.run{margin:0 0 40px}
svg{max-width:100%;height:auto;display:block;overflow:visible}
svg.defs{position:absolute;width:0;height:0}
svg text{font:10.5px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--fg)}
svg .tt{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:10px}
.tr{text-anchor:end}.tm,.axm,.vd,.vl{text-anchor:middle}
svg .axm,svg .ax{fill:var(--dim);font-size:11px}
svg .vd{fill:#14171c}svg .vl{fill:#fff}
.px{shape-rendering:crispEdges}
.na{fill:url(#mt-hatch)}.na1{fill:url(#mt-hatch1)}.h0{fill:var(--na)}.h1{fill:var(--na2)}
.fr{fill:none;stroke:var(--line);stroke-width:1}.bg{fill:none;stroke:var(--line);stroke-width:1}
.gl{stroke:var(--fg);stroke-width:.75;opacity:.55}
.gr{stroke:var(--line);stroke-width:1}.ze{stroke:var(--dim);stroke-width:1}.axl{stroke:var(--dim);fill:none}
.ks{fill:var(--softmax)}.kr{fill:var(--recurrent)}.ba{fill:var(--accent)}
.ln{fill:none;stroke-width:1.75;stroke-linejoin:round}.da{stroke-dasharray:5 3}.band{opacity:.2;stroke:none}
footer{padding-top:24px;padding-bottom:64px;margin-top:48px}
@media(max-width:900px){main,header,footer,nav{padding-left:16px;padding-right:16px}nav ol{columns:1}}
@page{margin:14mm}
@media print{body{font-size:10.5pt;line-height:15pt}main,header,footer,nav{max-width:none;padding:0}
header{padding-top:0}
.tw{max-height:none;overflow:visible}thead th{position:static}tr,figure,.prompt,.panel,li{break-inside:avoid}
h2,h3,h4,figcaption{break-after:avoid}
section{margin-top:16pt;padding-top:12pt}a{color:inherit}summary{list-style:none}}
)css";

const std::string kScript = R"js(
(function(){
  document.documentElement.classList.add("js");
  function key(cell){
    var t=cell?cell.textContent.trim():"";
    if(t===""||t==="\u2013")return null;
    var n=Number(t.replace(/\u2212/g,"-").replace(/,/g,"").replace(/\u221e/g,"Infinity"));
    return isNaN(n)?t:n;
  }
  function compare(a,b){
    if(a===null||b===null)return a===b?0:a===null?1:-1;
    if(typeof a==="number"&&typeof b==="number")return a-b;
    return String(a).localeCompare(String(b));
  }
  function sort(th){
    var table=th.closest("table"),body=table.tBodies[0],i=th.cellIndex;
    var up=th.getAttribute("aria-sort")==="descending";
    table.querySelectorAll("th[aria-sort]").forEach(function(o){o.removeAttribute("aria-sort");});
    th.setAttribute("aria-sort",up?"ascending":"descending");
    Array.from(body.rows).map(function(r){return {r:r,k:key(r.cells[i])};}).sort(function(x,y){
      if(x.k===null||y.k===null)return compare(x.k,y.k);
      return up?compare(x.k,y.k):compare(y.k,x.k);
    }).forEach(function(x){body.appendChild(x.r);});
  }
  document.querySelectorAll("th.so").forEach(function(th){
    th.tabIndex=0;
    th.addEventListener("click",function(){sort(th);});
    th.addEventListener("keydown",function(e){if(e.key==="Enter"||e.key===" "){e.preventDefault();sort(th);}});
  });
  document.querySelectorAll("input[data-filter]").forEach(function(box){
    var table=document.getElementById(box.getAttribute("data-filter"));
    box.addEventListener("input",function(){
      var wanted=box.value.toLowerCase();
      Array.from(table.tBodies[0].rows).forEach(function(r){r.hidden=r.textContent.toLowerCase().indexOf(wanted)<0;});
    });
  });
  window.addEventListener("beforeprint",function(){
    document.querySelectorAll("details").forEach(function(d){d.open=true;});
  });
})();
)js";

std::string base64(const std::string& bytes) {
  static const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t v = 0;
    for (size_t k = 0; k < 3; ++k) v = v << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kDigits[v >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace

std::string style_sheet() {
  std::string out = kStyle;
  for (int i = 0; i <= kRampSteps; ++i) {
    std::string n = std::to_string(i);
    out += ".s" + n + "{fill:" + ramp_colour(Ramp::kSequential, i) + "}.d" + n +
           "{fill:" + ramp_colour(Ramp::kDiverging, i) + "}\n";
  }
  for (int i = 0; i < 8; ++i) {
    std::string n = std::to_string(i);
    out += ".l" + n + "{stroke:var(--c" + n + ")}.f" + n + "{fill:var(--c" + n + ")}\n";
  }
  return out + circuit_style() + feature_style() + attribution_style();
}

const std::string& script() { return kScript; }

std::string script_hash() {
  std::string hex = sha256_hex(kScript), bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::strtol(hex.substr(i, 2).c_str(), nullptr, 16));
  return "sha256-" + base64(bytes);
}

std::string page_head(const std::string& title) {
  return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
         "script-src '" +
         script_hash() +
         "'; img-src data:; base-uri 'none'; form-action 'none'\">"
         "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"generator\" "
         "content=\"Microtome\">"
         "<meta name=\"referrer\" content=\"no-referrer\"><title>" +
         escape(shorten(title, 200)) + "</title><style>" + style_sheet() + "</style></head>\n<body>";
}

}  // namespace microtome::report
