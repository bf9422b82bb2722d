#include "app/desktop/views/param_form.h"

#include <QAbstractButton>
#include <QCheckBox>
#include <QComboBox>
#include <QDir>
#include <QEvent>
#include <QFileDialog>
#include <QFileInfo>
#include <QGridLayout>
#include <QLabel>
#include <QLineEdit>
#include <QMenu>
#include <QPainter>
#include <QPainterPath>
#include <QPointer>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/param_editor.h"

namespace microtome::desktop {
namespace {

constexpr int kEditorWidth = 30 * kGrid;

// A small arrow that turns back: stands beside a value that differs from its default, and restores it.
class BackButton : public QAbstractButton {
 public:
  explicit BackButton(QWidget* parent) : QAbstractButton(parent) {
    setFixedSize(20, 20);
    setFocusPolicy(Qt::StrongFocus);
    setCursor(Qt::PointingHandCursor);
    QSizePolicy policy = sizePolicy();
    policy.setRetainSizeWhenHidden(true);    // nothing moves when it appears
    setSizePolicy(policy);
    setAttribute(Qt::WA_Hover);
  }

 protected:
  void paintEvent(QPaintEvent*) override {
    const Theme& theme = Theme::of(this);
    QPainter p(this);
    p.setRenderHint(QPainter::Antialiasing);
    if (underMouse() || hasFocus()) {
      p.setPen(hasFocus() ? QPen(theme.accent, 1) : QPen(Qt::NoPen));
      p.setBrush(theme.accentSoft);
      p.drawRoundedRect(QRectF(rect()).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4);
    }
    p.setPen(QPen(theme.accent, 1.6, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
    p.setBrush(Qt::NoBrush);
    const QRectF ring(5.5, 5.5, 9, 9);
    p.drawArc(ring, 150 * 16, -270 * 16);
    QPainterPath head;                       // at the arc's start, pointing against it
    head.moveTo(5.2, 4.2);
    head.lineTo(5.6, 8.2);
    head.lineTo(9.4, 7.4);
    p.drawPath(head);
  }
};

QString rangeText(const ParamSpec& spec) {
  const auto text = [](double v) { return QString::fromStdString(param_text(v)); };
  if (spec.min && spec.max) return ParamForm::tr("%1 to %2").arg(text(*spec.min), text(*spec.max));
  if (spec.min) return ParamForm::tr("at least %1").arg(text(*spec.min));
  return spec.max ? ParamForm::tr("at most %1").arg(text(*spec.max)) : QString();
}

QString defaultText(const ParamSpec& spec) {
  if (const bool* on = std::get_if<bool>(&spec.fallback)) return *on ? ParamForm::tr("on") : ParamForm::tr("off");
  const QString text = labelText(param_text(spec.fallback), 60);
  return text.isEmpty() ? ParamForm::tr("none") : text;
}

// "0 to 1, default 0.3."
QString factsText(const ParamSpec& spec) {
  const QString range = rangeText(spec);
  const QString fallback = ParamForm::tr("default %1").arg(defaultText(spec));
  return range.isEmpty() ? fallback : range + QStringLiteral(", ") + fallback;
}

QString helpHtml(const ParamSpec& spec) {
  return QStringLiteral("<b>%1</b> – %2 <i>(%3)</i>")
      .arg(nameText(spec.name).toHtmlEscaped(), labelText(spec.help, 600).toHtmlEscaped(), factsText(spec).toHtmlEscaped());
}

struct Field {
  ParamSpec spec;
  ParamEditor* editor = nullptr;
  QLabel* label = nullptr;                   // null: a check box carries its own
  BackButton* back = nullptr;
  bool foremost = false;                     // of those that stand first, never folded
  std::optional<std::string> refused;        // given from outside and not possible; kept until changed

  std::string text() const { return refused ? *refused : editor->text(); }
  // The typed value, or the sentence that says why there is none.
  Result<ParamValue> value() const {
    Result<Params> one = resolve_params(ParamSchema{{spec}}, {{spec.name, text()}});
    if (!one) return one.status();
    return one.value().values().at(spec.name);
  }
};

}  // namespace

struct ParamForm::Impl {
  ParamForm* self;
  ParamSchema schema;
  std::vector<std::unique_ptr<Field>> fields;
  QVBoxLayout* column = nullptr;
  QWidget* content = nullptr;                // made anew with each schema
  // A heading that folds what is below it.
  struct Fold {
    QToolButton* head = nullptr;
    QWidget* body = nullptr;
    QString title;
    void open(bool on) const {
      if (!head) return;
      head->setChecked(on);
      head->setArrowType(on ? Qt::DownArrow : Qt::RightArrow);
      body->setVisible(on);
    }
    void tell(int changed) const {
      if (head) head->setText(changed ? tr("%1 (%2 changed)").arg(title).arg(changed) : title);
    }
  };
  Fold more, speed;
  QLabel *problem = nullptr, *help = nullptr;

  Field* fieldOf(const QObject* object) const {
    for (const auto& f : fields)
      if (f->editor->widget() == object || f->label == object || f->back == object) return f.get();
    return nullptr;
  }

  void addField(const ParamSpec& spec, QWidget* parent, QGridLayout* grid, bool foremost) {
    auto field = std::make_unique<Field>();
    Field* f = field.get();
    f->spec = spec;
    f->foremost = foremost;
    f->editor = new ParamEditor(spec, parent);
    QWidget* control = f->editor->widget();
    const int row = grid->rowCount();
    const QString tip = tipText(labelText(spec.help, 600) + QStringLiteral(" (") + factsText(spec) + QLatin1Char(')'));
    if (!qobject_cast<QCheckBox*>(control)) {
      f->label = new QLabel(parent);
      f->label->setTextFormat(Qt::PlainText);
      f->label->setText(f->label->fontMetrics().elidedText(nameText(spec.name), Qt::ElideRight, 22 * kGrid));
      f->label->setToolTip(tip);
      f->label->setBuddy(control);
      f->label->installEventFilter(self);
      grid->addWidget(f->label, row, 0, Qt::AlignLeft | Qt::AlignVCenter);
      if (spec.type != ParamSpec::Type::kString) control->setMaximumWidth(kEditorWidth);
      control->setMinimumWidth(10 * kGrid);
    }
    control->setToolTip(tip);
    control->installEventFilter(self);
    if (auto* line = spec.is_file ? qobject_cast<QLineEdit*>(control) : nullptr) {
      auto* both = new QHBoxLayout;
      both->setSpacing(kGrid / 2);
      both->addWidget(line, 1);
      both->addWidget(makeBrowse(spec, line, parent));
      grid->addLayout(both, row, 1);
    } else {
      grid->addWidget(control, row, 1);
    }
    f->back = new BackButton(parent);
    f->back->setToolTip(tipText(tr("Back to the default: %1").arg(defaultText(spec))));
    f->back->setAccessibleName(tr("Back to the default of %1").arg(nameText(spec.name)));
    f->back->setObjectName(QStringLiteral("back_") + QString::fromStdString(spec.name));
    f->back->hide();
    grid->addWidget(f->back, row, 2);
    connect(f->editor, &ParamEditor::edited, self, [this, f] {
      f->refused.reset();
      update(*f);
      Q_EMIT self->changed();
    });
    connect(f->back, &QAbstractButton::clicked, self, [this, f] {
      f->refused.reset();
      f->editor->show(f->spec.fallback);
      f->editor->widget()->setFocus();       // the button vanishes: the focus must not
      update(*f);
      Q_EMIT self->changed();
    });
    fields.push_back(std::move(field));
  }

  // What a person chooses from the disk: a file or a folder, as the parameter may be either.
  QToolButton* makeBrowse(const ParamSpec& spec, QLineEdit* line, QWidget* parent) {
    auto* browse = new QToolButton(parent);
    browse->setObjectName(QStringLiteral("browse_") + QString::fromStdString(spec.name));
    browse->setText(QStringLiteral("…"));
    browse->setAccessibleName(tr("Look for %1 on the disk").arg(nameText(spec.name)));
    browse->setToolTip(tr("Look for it on the disk"));
    browse->setFocusPolicy(Qt::StrongFocus);
    browse->setPopupMode(QToolButton::InstantPopup);
    auto* menu = new QMenu(browse);
    const QString title = nameText(spec.name);
    const auto take = [line](const QString& path) {
      if (!path.isEmpty()) line->setText(QDir::toNativeSeparators(path));
    };
    const auto from = [line] { return QFileInfo(line->text()).absolutePath(); };
    menu->addAction(tr("File…"), self, [this, title, take, from] { take(QFileDialog::getOpenFileName(self, title, from())); });
    menu->addAction(tr("Folder…"), self, [this, title, take, from] { take(QFileDialog::getExistingDirectory(self, title, from())); });
    browse->setMenu(menu);
    return browse;
  }

  void makeFold(Fold& fold, const QString& title, const char* name, const QString& tip) {
    fold.title = title;
    fold.head = new QToolButton(content);
    fold.head->setObjectName(QString::fromLatin1(name));
    fold.head->setCheckable(true);
    fold.head->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
    fold.head->setArrowType(Qt::RightArrow);
    // A heading that folds, not a button that stays pressed.
    fold.head->setStyleSheet(QStringLiteral("QToolButton { padding: 4px 4px 4px 0; }"
                                            "QToolButton:checked { background: transparent; }"));
    fold.head->setToolTip(tip);
    fold.head->setFocusPolicy(Qt::StrongFocus);
    fold.body = new QWidget(content);
    fold.body->hide();
    connect(fold.head, &QToolButton::toggled, self, [f = fold](bool on) { f.open(on); });
  }

  bool differs(const Field& f) const {
    const Result<ParamValue> value = f.value();
    return !value || param_text(value.value()) != param_text(f.spec.fallback);
  }

  // The marks of one field and all that follows from it.
  void update(const Field& f) {
    mark(f);
    updateRest();
  }
  void mark(const Field& f) {
    const Theme& theme = Theme::of(self);
    const bool good = static_cast<bool>(f.value());
    f.back->setVisible(differs(f));
    QWidget* words = f.label ? static_cast<QWidget*>(f.label) : f.editor->widget();
    // Its own colour only where something is wrong: the window's follows when the theme changes.
    QPalette palette;
    if (!good) {
      palette = words->palette();
      palette.setColor(QPalette::WindowText, theme.error);
    }
    words->setPalette(palette);
  }
  void updateRest() {
    int away = 0, further = 0;
    for (const auto& f : fields) {
      if (!differs(*f)) continue;
      away += !f->spec.affects_answer && !f->foremost;
      further += f->spec.affects_answer && !f->foremost;
    }
    speed.tell(away);
    more.tell(further);
    QString why;
    const bool good = self->isValid(&why);
    if (!why.isEmpty()) why[0] = why[0].toUpper();
    problem->setText(why);
    problem->setVisible(!good);
    QPalette palette = problem->palette();
    palette.setColor(QPalette::WindowText, Theme::of(self).error);
    problem->setPalette(palette);
  }
  void updateAll() {
    for (const auto& f : fields) mark(*f);
    updateRest();
  }

  // Keeps the help's place as tall as the longest text needs, so that nothing moves while the focus walks.
  void reserveHelp() {
    int tallest = 0;
    const QString now = help->text();
    for (const auto& f : fields) {
      help->setText(helpHtml(f->spec));
      tallest = std::max(tallest, help->heightForWidth(std::max(self->width() - 2, 20 * kGrid)));
    }
    help->setText(now);
    help->setMinimumHeight(std::min(tallest, 8 * help->fontMetrics().lineSpacing()));
  }
};

ParamForm::ParamForm(QWidget* parent) : QWidget(parent), impl_(std::make_unique<Impl>()) {
  impl_->self = this;
  impl_->column = new QVBoxLayout(this);
  impl_->column->setContentsMargins(0, 0, 0, 0);
  impl_->column->setSpacing(kGrid);
  impl_->problem = new QLabel(this);
  impl_->problem->setObjectName(QStringLiteral("problem"));
  impl_->problem->setTextFormat(Qt::PlainText);
  impl_->problem->setWordWrap(true);
  impl_->problem->hide();
  impl_->help = new QLabel(this);
  impl_->help->setObjectName(QStringLiteral("help"));
  impl_->help->setProperty("role", QStringLiteral("muted"));
  impl_->help->setWordWrap(true);
  impl_->help->setTextFormat(Qt::RichText);
  impl_->help->setAlignment(Qt::AlignLeft | Qt::AlignTop);
  // A word longer than the form must not widen it.
  impl_->problem->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  impl_->help->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  impl_->column->addWidget(impl_->problem);
  impl_->column->addWidget(impl_->help);
  setSchema({});
}

ParamForm::~ParamForm() = default;

void ParamForm::setSchema(const ParamSchema& schema, const std::vector<std::string>& first) {
  Impl& d = *impl_;
  d.fields.clear();
  delete d.content;
  d.more = {};
  d.speed = {};
  d.schema = schema;
  d.content = new QWidget(this);
  auto* column = new QVBoxLayout(d.content);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(kGrid);
  const auto makeGrid = [](QWidget* parent) {
    auto* grid = new QGridLayout;
    grid->setContentsMargins(0, 0, 0, 0);
    grid->setHorizontalSpacing(kGrid);
    grid->setVerticalSpacing(kGrid / 2);
    grid->setColumnStretch(1, 1);
    grid->setColumnMinimumWidth(0, 10 * kGrid);
    if (parent) parent->setLayout(grid);
    return grid;
  };
  QGridLayout* main = makeGrid(nullptr);
  column->addLayout(main);
  std::vector<const ParamSpec*> foremost;
  for (const std::string& name : first)
    if (const ParamSpec* spec = schema.find(name)) foremost.push_back(spec);
  const auto isForemost = [&](const ParamSpec& spec) { return std::find(foremost.begin(), foremost.end(), &spec) != foremost.end(); };
  for (const ParamSpec* spec : foremost) d.addField(*spec, d.content, main, true);
  QGridLayout *further = nullptr, *costs = nullptr;
  for (const ParamSpec& spec : schema.specs) {
    if (isForemost(spec) || !spec.affects_answer) continue;
    if (foremost.empty()) {
      d.addField(spec, d.content, main, false);
      continue;
    }
    if (!further) {
      d.makeFold(d.more, tr("More"), "more", tr("Parameters that are rarely changed"));
      further = makeGrid(d.more.body);
    }
    d.addField(spec, d.more.body, further, false);
  }
  for (const ParamSpec& spec : schema.specs) {
    if (isForemost(spec) || spec.affects_answer) continue;
    if (!costs) {
      d.makeFold(d.speed, tr("Speed"), "speed", tr("What changes how long a run takes, never its answer"));
      costs = makeGrid(d.speed.body);
    }
    d.addField(spec, d.speed.body, costs, false);
  }
  for (const Impl::Fold* fold : {&d.more, &d.speed}) {
    if (!fold->head) continue;
    column->addWidget(fold->head, 0, Qt::AlignLeft);
    column->addWidget(fold->body);
  }
  if (costs && foremost.empty()) {
    // Both sections share the place of their controls; what is folded below a few parameters takes no room from these.
    int widest = 0;
    for (const auto& f : d.fields) widest = std::max(widest, f->label ? f->label->sizeHint().width() : 0);
    for (QGridLayout* grid : {main, costs}) grid->setColumnMinimumWidth(0, std::max(widest, 10 * kGrid));
  }
  d.column->insertWidget(0, d.content);
  d.help->setText(d.fields.empty() ? tr("Nothing to set: this analysis has no parameters.") : helpHtml(d.fields[0]->spec));
  d.reserveHelp();
  d.updateAll();
}

std::map<std::string, std::string> ParamForm::values() const {
  std::map<std::string, std::string> out;
  for (const auto& f : impl_->fields) {
    const Result<ParamValue> value = f->value();
    if (!value)
      out[f->spec.name] = f->text();
    else if (const std::string text = param_text(value.value()); text != param_text(f->spec.fallback))
      out[f->spec.name] = text;
  }
  return out;
}

void ParamForm::setValues(const std::map<std::string, std::string>& given) {
  const auto before = values();
  for (const auto& f : impl_->fields) {
    f->refused.reset();
    f->editor->show(f->spec.fallback);
    const auto it = given.find(f->spec.name);
    if (it == given.end()) continue;
    f->refused = it->second;
    if (const Result<ParamValue> value = f->value()) {
      f->refused.reset();
      f->editor->show(value.value());
    } else if (auto* field = qobject_cast<QLineEdit*>(f->editor->widget())) {
      // A field can show what is wrong; the other controls can't.
      f->refused.reset();
      const QSignalBlocker quiet(field);
      field->setText(QString::fromStdString(it->second));
    }
  }
  impl_->updateAll();
  if (values() != before) Q_EMIT changed();
}

void ParamForm::reset() { setValues({}); }

bool ParamForm::isValid(QString* why) const {
  const Result<Params> all = resolve_params(impl_->schema, values());
  if (why) *why = all ? QString() : labelText(all.status().what(), 300);
  return static_cast<bool>(all);
}

void ParamForm::setSpeedOpen(bool open) { impl_->speed.open(open); }

void ParamForm::setMoreOpen(bool open) { impl_->more.open(open); }

bool ParamForm::eventFilter(QObject* object, QEvent* event) {
  if (event->type() == QEvent::FocusIn || event->type() == QEvent::Enter)
    if (const Field* f = impl_->fieldOf(object)) impl_->help->setText(helpHtml(f->spec));
  return QWidget::eventFilter(object, event);
}

void ParamForm::changeEvent(QEvent* event) {
  QWidget::changeEvent(event);
  if (event->type() == QEvent::PaletteChange || event->type() == QEvent::StyleChange) impl_->updateAll();
}

void ParamForm::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  impl_->reserveHelp();
}

}  // namespace microtome::desktop
