#include "app/desktop/panels/features/steer_pane.h"

#include <QDoubleSpinBox>
#include <QGridLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QLocale>
#include <QPushButton>
#include <QSlider>
#include <QSpinBox>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "app/desktop/panels/job_strip.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

constexpr double kMost = 20;           // times the largest activation
constexpr int kStepsPerUnit = 2;
const QString kAnalysis = QStringLiteral("steering");

bool steersFeatures(const Session& session) {
  const app::AnalysisFacts* a = session.findAnalysis(kAnalysis);
  const ParamSpec* p = a ? a->schema.find("direction") : nullptr;
  return p && std::find(p->choices.begin(), p->choices.end(), "feature") != p->choices.end();
}

// As it was written, without what would turn it round or vanish.
QString plainText(const std::string& text) {
  QString out;
  for (QChar c : QString::fromStdString(text))
    if (c == QLatin1Char('\n') || c == QLatin1Char('\t') || (c.category() != QChar::Other_Control && c.category() != QChar::Other_Format)) out += c;
  return out;
}

QLabel* textBox(QWidget* parent, const char* name) {
  auto* label = new QLabel(parent);
  label->setObjectName(QString::fromLatin1(name));
  label->setTextFormat(Qt::PlainText);
  label->setWordWrap(true);
  label->setFont(monoFont());
  label->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
  label->setAlignment(Qt::AlignLeft | Qt::AlignTop);
  QSizePolicy policy(QSizePolicy::Ignored, QSizePolicy::MinimumExpanding);
  policy.setHeightForWidth(true);
  label->setSizePolicy(policy);
  return label;
}

}  // namespace

SteerPane::SteerPane(Panel& panel, QWidget* parent) : QWidget(parent), panel_(panel), session_(panel.session()) {
  auto* column = new QVBoxLayout(this);
  column->setContentsMargins(0, kGrid / 2, 0, 0);
  column->setSpacing(kGrid / 2);
  auto* row = new QHBoxLayout;
  row->setSpacing(kGrid);
  const auto muted = [this](const QString& text) {
    auto* l = new QLabel(text, this);
    l->setProperty("role", QStringLiteral("muted"));
    l->setTextFormat(Qt::PlainText);
    return l;
  };
  slider_ = new QSlider(Qt::Horizontal, this);
  slider_->setObjectName(QStringLiteral("steer_slider"));
  slider_->setRange(-static_cast<int>(kMost) * kStepsPerUnit, static_cast<int>(kMost) * kStepsPerUnit);
  slider_->setAccessibleName(tr("Strength"));
  slider_->setMinimumWidth(10 * kGrid);
  guardWheel(slider_);
  strength_ = new QDoubleSpinBox(this);
  strength_->setObjectName(QStringLiteral("steer_strength"));
  strength_->setLocale(QLocale::c());
  strength_->setRange(-1000, 1000);
  strength_->setDecimals(2);
  strength_->setSingleStep(0.5);
  strength_->setAccessibleName(tr("Strength"));
  const QString tip = tipText(tr("How much of the feature's decoder direction is added at every position, in units of its largest activation in the corpus; negative takes away"));
  slider_->setToolTip(tip);
  strength_->setToolTip(tip);
  guardWheel(strength_);
  means_ = muted({});
  means_->setObjectName(QStringLiteral("steer_means"));
  prompt_ = new QLineEdit(this);
  prompt_->setObjectName(QStringLiteral("steer_prompt"));
  prompt_->setPlaceholderText(tr("A text for the model to go on with"));
  prompt_->setAccessibleName(tr("Prompt"));
  tokens_ = new QSpinBox(this);
  tokens_->setObjectName(QStringLiteral("steer_tokens"));
  tokens_->setRange(1, 512);
  tokens_->setValue(24);
  tokens_->setSuffix(tr(" tokens"));
  tokens_->setAccessibleName(tr("How many tokens to write"));
  tokens_->setToolTip(tr("How many tokens are written, each time the most probable one"));
  guardWheel(tokens_);
  generate_ = new QPushButton(tr("Generate"), this);
  generate_->setObjectName(QStringLiteral("steer_generate"));
  generate_->setProperty("primary", true);
  row->addWidget(muted(tr("strength")));
  row->addWidget(slider_, 1);
  row->addWidget(strength_);
  row->addWidget(means_);
  row->addWidget(prompt_, 2);
  row->addWidget(tokens_);
  row->addWidget(generate_);
  column->addLayout(row);
  strip_ = new JobStrip(session_, this);
  column->addWidget(strip_);
  note_ = muted({});
  note_->setObjectName(QStringLiteral("steer_note"));
  note_->setWordWrap(true);
  column->addWidget(note_);
  auto* texts = new QGridLayout;
  texts->setHorizontalSpacing(2 * kGrid);
  texts->setVerticalSpacing(kGrid / 2);
  withTitle_ = muted({});
  texts->addWidget(muted(tr("without")), 0, 0);
  texts->addWidget(withTitle_, 0, 1);
  without_ = textBox(this, "steer_without");
  with_ = textBox(this, "steer_with");
  texts->addWidget(without_, 1, 0);
  texts->addWidget(with_, 1, 1);
  texts->setColumnStretch(0, 1);
  texts->setColumnStretch(1, 1);
  column->addLayout(texts, 1);
  connect(slider_, &QSlider::valueChanged, this, [this](int v) { strength_->setValue(static_cast<double>(v) / kStepsPerUnit); });
  connect(strength_, &QDoubleSpinBox::valueChanged, this, [this](double v) {
    const QSignalBlocker quiet(slider_);
    slider_->setValue(static_cast<int>(std::lround(std::clamp(v, -kMost, kMost) * kStepsPerUnit)));
    showState();
  });
  connect(prompt_, &QLineEdit::textChanged, this, &SteerPane::showState);
  connect(prompt_, &QLineEdit::returnPressed, this, &SteerPane::generate);
  connect(generate_, &QPushButton::clicked, this, &SteerPane::generate);
  connect(&session_, &Session::runFinished, this, [this](qint64 job, const QString&, int, const RunViewPtr& run) {
    if (job_ == 0 || job != job_) return;
    job_ = 0;
    showTexts(run);
    showState();
  });
  connect(&session_, &Session::runFailed, this, [this](qint64 job, const QString&, int, const QString& why, bool cancelled) {
    if (job_ == 0 || job != job_) return;
    job_ = 0;
    if (!cancelled) panel_.showProblem(why);
    showState();
  });
  strength_->setValue(4);
}

void SteerPane::setFeature(qint64 feature, double max, const QString& dictionary, int slot) {
  if (feature != feature_ || dictionary != dictionary_) forget();
  feature_ = feature;
  max_ = max;
  dictionary_ = dictionary;
  slot_ = slot;
  showState();
}

void SteerPane::setPromptIfEmpty(const QString& text) {
  if (prompt_->text().isEmpty()) prompt_->setText(text);
  prompt_->setCursorPosition(0);
}

void SteerPane::forget() {
  if (job_ != 0) session_.cancel(job_);
  job_ = 0;
  without_->clear();
  with_->clear();
  withTitle_->clear();
  note_->clear();
}

RunRequest SteerPane::request() const {
  RunRequest r;
  r.analysis = kAnalysis;
  r.slot = std::max(0, slot_);
  r.text = prompt_->text();
  r.title = tr("Steering with feature %1").arg(feature_);
  const double unit = max_ > 0 ? max_ : 1;
  const std::string coefficient = param_text(strength_->value() * unit);
  r.params = {{"direction", "feature"}, {"dictionary", dictionary_.toStdString()}, {"feature", std::to_string(feature_)}, {"metric", "kl"},
              {"coefficients", "0," + coefficient}, {"texts", "1"}, {"max_new", std::to_string(tokens_->value())}};
  return r;
}

void SteerPane::showState() {
  const double unit = max_ > 0 ? max_ : 1;
  means_->setText(feature_ < 0 ? QString() : tr("× %1 = %2").arg(numberText(unit, 3), numberText(strength_->value() * unit, 3)));
  QString why;
  if (!steersFeatures(session_)) why = tr("This build cannot steer with a feature.");
  else if (feature_ < 0) why = tr("Choose a feature.");
  else if (slot_ < 0) why = tr("Open the model that these features belong to.");
  else if (dictionary_.isEmpty()) why = tr("It is not known where this dictionary was read from: build its dashboards again.");
  else if (prompt_->text().isEmpty()) why = tr("Type a text for the model to go on with.");
  generate_->setEnabled(why.isEmpty() && job_ == 0);
  generate_->setToolTip(why.isEmpty() ? tr("Writes the text without and with the feature (Enter in the prompt)") : why);
  if (with_->text().isEmpty()) note_->setText(why);
  note_->setVisible(!note_->text().isEmpty());
}

void SteerPane::generate() {
  if (!generate_->isEnabled()) return;
  panel_.clearBar();
  job_ = session_.run(request(), QStringLiteral("steer-feature"));
  if (job_ != 0) strip_->setJob(job_, tr("Steering"));
  showState();
}

void SteerPane::showTexts(const RunViewPtr& run) {
  const Table* texts = nullptr;
  double kl = std::nan(""), coefficient = 0;
  for (const Artifact& a : run->result.artifacts)
    if (const auto* t = std::get_if<Table>(&a)) {
      if (t->name == "texts") texts = t;
      if (t->name == "coefficients" && !t->rows.empty())
        for (const auto& row : t->rows)
          if (const auto* c = std::get_if<double>(&row.front()); c && *c != 0 && row.size() > 4)
            if (const auto* k = std::get_if<double>(&row[4])) kl = *k;
    }
  if (!texts) return;
  for (const auto& row : texts->rows) {
    if (row.size() < 3) continue;
    const auto* c = std::get_if<double>(&row[1]);
    const auto* text = std::get_if<std::string>(&row[2]);
    if (!c || !text) continue;
    (*c == 0 ? without_ : with_)->setText(plainText(*text));
    if (*c != 0) coefficient = *c;
  }
  withTitle_->setText(tr("with feature %1, coefficient %2").arg(feature_).arg(numberText(coefficient, 3)));
  const bool same = with_->text() == without_->text();
  note_->setText((same ? tr("The text is the same: try a larger strength. ") : QString()) +
                 (std::isnan(kl) ? QString() : tr("KL(without ‖ with) at the prompt's last token: %1 nats.").arg(numberText(kl, 3))));
}

}  // namespace microtome::desktop
