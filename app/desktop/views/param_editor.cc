#include "app/desktop/views/param_editor.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QLineEdit>
#include <QLocale>
#include <QRegularExpressionValidator>
#include <QSignalBlocker>
#include <QSpinBox>
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"

namespace microtome::desktop {
namespace {

constexpr int kDecimals = 17;          // a double comes back as it was

// Shows as many decimals as the number has, always with a point: what is shown is what the command line takes.
class RealBox : public QDoubleSpinBox {
 public:
  using QDoubleSpinBox::QDoubleSpinBox;
  QString textFromValue(double value) const override {
    return QString::number(value, 'f', QLocale::FloatingPointShortest);
  }
  double valueFromText(const QString& text) const override { return QLocale::c().toDouble(text.trimmed()); }
  // Steps land on round numbers instead of summing rounding errors.
  void stepBy(int steps) override {
    const double grain = singleStep() * 1e-6;
    setValue(QString::number(std::round((value() + steps * singleStep()) / grain) * grain, 'g', 12).toDouble());
    selectAll();
  }
};

// A twentieth of the range, as 1, 2 or 5 times a power of ten.
double niceStep(double span) {
  const double raw = span / 20;
  const double ten = std::pow(10.0, std::floor(std::log10(raw)));
  const double lead = raw / ten;
  return ten * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

// Whether even steps from end to end make sense: not over many powers of ten, as learning rates run.
bool suitsRealBox(const ParamSpec& spec) {
  if (!spec.min || !spec.max) return false;
  const double lo = *spec.min, hi = *spec.max, span = hi - lo;
  if (!(span >= 1e-3) || !(std::max(std::abs(lo), std::abs(hi)) <= 1e5)) return false;
  if (lo > 0 && hi / lo > 1e4) return false;
  const double fallback = std::abs(std::get<double>(spec.fallback));
  return fallback == 0 || fallback >= span * 1e-5;
}

}  // namespace

ParamEditor::ParamEditor(const ParamSpec& spec, QWidget* parent) : QObject(nullptr) {
  switch (spec.type) {
    case ParamSpec::Type::kBool: makeCheck(spec, parent); break;
    case ParamSpec::Type::kChoice: makeChoice(spec, parent); break;
    case ParamSpec::Type::kInt: makeInt(spec, parent); break;
    case ParamSpec::Type::kFloat: makeFloat(spec, parent); break;
    case ParamSpec::Type::kString: makeField(spec, parent); break;
  }
  setParent(widget_);
  widget_->setObjectName(QString::fromStdString(spec.name));
  widget_->setAccessibleName(nameText(spec.name));
  widget_->setAccessibleDescription(labelText(spec.help, 600));
  guardWheel(widget_);
  show(spec.fallback);
}

void ParamEditor::show(const ParamValue& value) {
  const QSignalBlocker quiet(widget_);
  show_(value);
}

void ParamEditor::makeCheck(const ParamSpec& spec, QWidget* parent) {
  auto* box = new QCheckBox(nameText(spec.name), parent);
  widget_ = box;
  text_ = [box] { return std::string(box->isChecked() ? "true" : "false"); };
  show_ = [box](const ParamValue& v) { box->setChecked(std::get<bool>(v)); };
  connect(box, &QCheckBox::toggled, this, &ParamEditor::edited);
}

void ParamEditor::makeChoice(const ParamSpec& spec, QWidget* parent) {
  auto* list = new QComboBox(parent);
  for (const std::string& c : spec.choices) list->addItem(labelText(c, 60));
  list->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  list->setMinimumContentsLength(10);
  widget_ = list;
  // By place, not by what is shown: a name of a plug-in may have been cut.
  text_ = [list, choices = spec.choices] {
    const int i = list->currentIndex();
    return i < 0 ? std::string() : choices[static_cast<size_t>(i)];
  };
  show_ = [list, choices = spec.choices](const ParamValue& v) {
    const auto it = std::find(choices.begin(), choices.end(), std::get<std::string>(v));
    list->setCurrentIndex(it == choices.end() ? -1 : static_cast<int>(it - choices.begin()));
  };
  connect(list, &QComboBox::currentIndexChanged, this, &ParamEditor::edited);
}

void ParamEditor::makeInt(const ParamSpec& spec, QWidget* parent) {
  constexpr double kMost = std::numeric_limits<int>::max();
  if (!spec.min || !spec.max || *spec.min < -kMost || *spec.max > kMost || std::ceil(*spec.min) > std::floor(*spec.max)) {
    makeField(spec, parent);
    return;
  }
  auto* box = new QSpinBox(parent);
  box->setLocale(QLocale::c());
  box->setGroupSeparatorShown(false);
  box->setRange(static_cast<int>(std::ceil(*spec.min)), static_cast<int>(std::floor(*spec.max)));
  box->setAccelerated(true);
  widget_ = box;
  text_ = [box] { return std::to_string(box->value()); };
  show_ = [box](const ParamValue& v) { box->setValue(static_cast<int>(std::get<int64_t>(v))); };
  connect(box, &QSpinBox::valueChanged, this, &ParamEditor::edited);
}

void ParamEditor::makeFloat(const ParamSpec& spec, QWidget* parent) {
  if (!suitsRealBox(spec)) {
    makeField(spec, parent);
    return;
  }
  auto* box = new RealBox(parent);
  box->setLocale(QLocale::c());
  box->setGroupSeparatorShown(false);
  box->setDecimals(kDecimals);
  box->setRange(*spec.min, *spec.max);
  box->setSingleStep(niceStep(*spec.max - *spec.min));
  widget_ = box;
  text_ = [box] { return param_text(box->value()); };
  show_ = [box](const ParamValue& v) { box->setValue(std::get<double>(v)); };
  connect(box, &QDoubleSpinBox::valueChanged, this, &ParamEditor::edited);
}

void ParamEditor::makeField(const ParamSpec& spec, QWidget* parent) {
  auto* field = new QLineEdit(parent);
  // The characters of a number only; whether it is one, and in range, resolve_params() says.
  const char* allowed = spec.type == ParamSpec::Type::kInt     ? "[-+]?[0-9]{0,19}"
                        : spec.type == ParamSpec::Type::kFloat ? "[-+]?[0-9]*\\.?[0-9]*([eE][-+]?[0-9]{0,3})?"
                                                               : nullptr;
  if (allowed)
    field->setValidator(new QRegularExpressionValidator(QRegularExpression(QString::fromLatin1(allowed)), field));
  else if (std::get<std::string>(spec.fallback).empty())
    field->setPlaceholderText(tr("none"));
  widget_ = field;
  text_ = [field] { return field->text().toStdString(); };
  show_ = [field](const ParamValue& v) {
    field->setText(QString::fromStdString(param_text(v)));
    field->setCursorPosition(0);
  };
  connect(field, &QLineEdit::textChanged, this, &ParamEditor::edited);
}

}  // namespace microtome::desktop
