"""Lists, sets, intervals, points, cases, times, words: each kind draws (gold, equal spellings, other answers)."""


def intervals(draw):
    a, b = sorted(draw.sample(range(-30, 30), 2))
    return (
        f"[{a},{b})",
        [f"{a}\\leq x<{b}", f"\\{{x|{a}\\le x<{b}\\}}", f"x\\in[{a},{b})", f"{b}>x\\geq {a}",
         f"\\left[{a}, {b}\\right)", f"x\\geq {a}\\text{{ and }}x<{b}"],
        [f"({a},{b})", f"[{a},{b}]", f"({a},{b}]", f"[{a},{b + 1})", f"{a}<x<{b}", f"[{b},{a})", f"\\{{{a},{b}\\}}"],
    )  # fmt: skip


def unions(draw):
    a, b = sorted(draw.sample(range(-30, 30), 2))
    return (
        f"(-\\infty,{a})\\cup({b},\\infty)",
        [f"({b},\\infty)\\cup(-\\infty,{a})", f"x<{a}\\text{{ or }}x>{b}", f"x\\in(-\\infty,{a})\\cup({b},+\\infty)"],
        [f"(-\\infty,{a}]\\cup({b},\\infty)", f"({a},{b})", f"x>{b}", f"(-\\infty,{a})\\cup[{b},\\infty)",
         f"(-\\infty,{b})\\cup({a},\\infty)"],
    )  # fmt: skip


def half_lines(draw):
    a, k = draw.randint(-30, 30), draw.randint(2, 9)
    return (
        f"x<{a}",
        [f"{k}x<{k * a}", f"-x>{-a}", f"-{k}x>{-k * a}", f"(-\\infty,{a})", f"{a}>x"],
        [f"x\\leq {a}", f"x>{a}", f"-x<{-a}", f"{k}x<{a + 40}", f"-{k}x<{-k * a}", str(a)],
    )  # fmt: skip


def punctured_lines(draw):
    a, b = sorted(draw.sample(range(-30, 30), 2))
    return (
        f"\\mathbb{{R}}\\setminus\\{{{a},{b}\\}}",
        [f"x\\neq {a},{b}", f"x\\neq {b}\\text{{ and }}x\\neq {a}", f"\\mathbb R\\setminus\\{{{b},{a}\\}}",
         f"(-\\infty,{a})\\cup({a},{b})\\cup({b},\\infty)"],
        [f"\\mathbb{{R}}\\setminus\\{{{a}\\}}", f"x\\neq {a}", "\\mathbb{R}", f"{a},{b}",
         f"\\mathbb{{R}}\\setminus\\{{{a},{b + 1}\\}}", f"x={a},{b}"],
    )  # fmt: skip


def lists(draw):
    items = draw.sample(range(-30, 30), 4)
    text, turned = ", ".join(map(str, items)), items[2:] + items[:2]
    return (
        text,
        [", ".join(map(str, turned)), ",".join(map(str, items)), "x=" + ", ".join(map(str, items)),
         "\\{" + ",".join(map(str, turned)) + "\\}",
         ", ".join(map(str, items[:3])) + " \\text{ and } " + str(items[3])],
        [", ".join(map(str, items[:3])), text + ", 77", ", ".join(map(str, [*items[:3], 99])), str(items[0])],
    )  # fmt: skip


def long_numbers(draw):
    items = draw.sample(range(100, 999), 3)
    text = ", ".join(map(str, items))
    return (
        text,
        [", ".join(map(str, items[::-1])), text.replace(", ", ",\\ "), "\\{" + text + "\\}"],
        ["".join(map(str, items)), f"{items[0]},{items[1]}", ", ".join(map(str, items[:2])), text + ", 100000"],
    )  # fmt: skip


def sets(draw):
    a, b = draw.sample(range(1, 9), 2)
    big = draw.randint(100, 999)
    return (
        f"\\{{{a}, {big}, {b}\\}}",
        [f"\\{{{b}, {a}, {big}\\}}", f"{big}, {a}, {b}", f"\\left\\{{{a},{b},{big}\\right\\}}"],
        [f"\\{{{a}{big}, {b}\\}}", f"\\{{{a}, {big}\\}}", f"\\{{{a}, {big}, {b + 9}\\}}", f"({a}, {big}, {b})",
         f"{a},{big}"],
    )  # fmt: skip


def plus_minus(draw):
    a, b = draw.randint(1, 20), draw.choice([2, 3, 5, 7])
    return (
        f"{a}\\pm\\sqrt{{{b}}}",
        [f"{a}-\\sqrt{{{b}}},{a}+\\sqrt{{{b}}}", f"x={a}\\pm\\sqrt{{{b}}}", f"\\{{{a}+\\sqrt{b},{a}-\\sqrt{b}\\}}"],
        [f"{a}+\\sqrt{{{b}}}", f"{a}\\pm\\sqrt{{{b + 1}}}", f"-{a}\\pm\\sqrt{{{b}}}", f"{a}\\pm {b}"],
    )  # fmt: skip


def points(draw):
    a, b = draw.sample(range(-30, 30), 2)
    return (
        f"({a},{b})",
        [f"({a}, {b})", f"x={a},y={b}", f"(x,y)=({a},{b})", f"\\left({a},\\ {b}\\right)",
         f"\\begin{{cases}}x={a}\\\\y={b}\\end{{cases}}"],
        [f"({b},{a})", f"[{a},{b}]", f"({a},{b},0)", f"x={b},y={a}", f"({a},{b + 1})", f"{a}"],
    )  # fmt: skip


def vectors(draw):
    a, b, c = draw.sample(range(2, 30), 3)
    return (
        f"\\begin{{pmatrix}}{a}\\\\{b}\\\\-{c}\\end{{pmatrix}}",
        [f"({a},{b},-{c})", f"\\langle {a},{b},-{c}\\rangle", f"{a}\\mathbf{{i}}+{b}\\mathbf{{j}}-{c}\\mathbf{{k}}",
         f"\\begin{{bmatrix}}{a}\\\\{b}\\\\-{c}\\end{{bmatrix}}"],
        [f"({a},{b},{c})", f"({b},{a},-{c})", f"{a}\\mathbf{{i}}+{b}\\mathbf{{j}}", f"\\langle {a},{b}\\rangle",
         f"{a}+{b}-{c}"],
    )  # fmt: skip


def matrices(draw):
    a, b, c, d = draw.sample(range(2, 30), 4)
    return (
        f"\\begin{{pmatrix}}{a}&{b}\\\\{c}&{d}\\end{{pmatrix}}",
        [f"\\begin{{bmatrix}}{a}&{b}\\\\{c}&{d}\\end{{bmatrix}}",
         f"\\left(\\begin{{array}}{{cc}}{a}&{b}\\\\{c}&{d}\\end{{array}}\\right)",
         f"A=\\begin{{pmatrix}}{a} & {b}\\\\ {c} & {d}\\end{{pmatrix}}"],
        [f"\\begin{{pmatrix}}{a}&{c}\\\\{b}&{d}\\end{{pmatrix}}",
         f"\\begin{{pmatrix}}{a}&{b}\\\\{c}&{d + 1}\\end{{pmatrix}}",
         f"\\begin{{vmatrix}}{a}&{b}\\\\{c}&{d}\\end{{vmatrix}}", f"({a},{b},{c},{d})"],
    )  # fmt: skip


def point_lists(draw):
    a, b, c, d = draw.sample(range(-30, 30), 4)
    return (
        f"({a},{b}),({c},{d})",
        [f"({c},{d}), ({a},{b})", f"({a},{b})\\text{{ and }}({c},{d})", f"\\{{({a},{b}),({c},{d})\\}}",
         f"({a},{b});({c},{d})"],
        [f"({a},{d}),({c},{b})", f"({a},{b})", f"({b},{a}),({c},{d})", f"{a},{b},{c},{d}"],
    )  # fmt: skip


def systems(draw):
    a, b = draw.sample(range(-30, 30), 2)
    return (
        f"x={a},y={b}",
        [f"y={b},x={a}", f"x={a}\\text{{ and }}y={b}", f"({a},{b})", f"\\begin{{cases}}x={a}\\\\y={b}\\end{{cases}}"],
        [f"x={b},y={a}", f"x={a}", f"x+y={a + b},x-y={a - b}", f"\\begin{{cases}}x={b}\\\\y={a}\\end{{cases}}",
         f"x={a},z={b}"],
    )  # fmt: skip


def ratios(draw):
    a, b = draw.choice([(2, 3), (3, 4), (5, 7), (4, 9), (1, 2), (5, 8)])
    k = draw.randint(2, 5)
    return (
        f"{a}:{b}",
        [f"{a * k}:{b * k}", f"\\frac{{{a}}}{{{b}}}", f"{a} : {b}", f"\\frac{{{a}}}{{2}}:\\frac{{{b}}}{{2}}"],
        [f"{b}:{a}", "0:0", f"{a}:{b + 1}", f"{a}:0", f"{a / b:.3f}", f"{a},{b}", f"{a}:{b}:1"],
    )  # fmt: skip


def long_ratios(draw):
    a, b, c = draw.sample(range(1, 9), 3)
    return (
        f"{a}:{b}:{c}",
        [f"{3 * a}:{3 * b}:{3 * c}", f"{a} : {b} : {c}", f"\\frac{{{a}}}{{5}}:\\frac{{{b}}}{{5}}:\\frac{{{c}}}{{5}}"],
        [f"{b}:{a}:{c}", "0:0:0", f"{a}:{b}", f"{a}:{b}:{c + 1}", f"{a}:{b}:0"],
    )  # fmt: skip


def times_of_day(draw):
    h, m = draw.randint(1, 11), draw.randint(0, 58)
    return (
        f"{h}:{m:02d}\\text{{ p.m.}}",
        [f"{h}:{m:02d} PM", f"{h}:{m:02d}\\text{{ pm}}", f"{h + 12}:{m:02d}", f"{h}:{m:02d}\\,\\text{{P.M.}}"],
        [f"{h}:{m:02d}\\text{{ a.m.}}", f"{h}:{m + 1:02d}\\text{{ p.m.}}", f"{h % 11 + 1}:{m:02d}\\text{{ p.m.}}",
         f"{h}:{m:02d}", str(h), f"{h}{m:02d}"],
    )  # fmt: skip


def clocks(draw):
    h, m = draw.randint(1, 11), draw.choice([0, 5, 10, 15, 20, 30, 45])
    return (
        f"{h}:{m:02d}",
        [f"{h}:{m:02d}", f"\\text{{{h}:{m:02d}}}", f"{h}{{:}}{m:02d}"],
        [f"{h + 1}:{m:02d}", f"{h}:{m + 1:02d}", f"{2 * h}:{2 * m:02d}" if m else "0:0", f"{h}.{m:02d}", f"{h}",
         f"{h % 11 + 1}:00"],
    )  # fmt: skip


def congruences(draw):
    m = draw.randint(5, 30)
    r = draw.randint(1, m - 1)
    return (
        f"x\\equiv {r}\\pmod{{{m}}}",
        [f"x\\equiv {r + m}\\pmod{{{m}}}", f"x\\equiv {r}\\ (\\text{{mod }}{m})", f"x\\equiv {r} \\mod {m}",
         f"{r}\\pmod{{{m}}}"],
        [f"x\\equiv {r - 1}\\pmod{{{m}}}", f"x\\equiv {r}\\pmod{{{m + 1}}}", str(r), f"x={r}",
         f"y\\equiv {r}\\pmod{{{m}}}", f"x\\equiv {r}"],
    )  # fmt: skip


def families(draw):
    b = draw.randint(2, 9)
    return (
        f"\\frac{{\\pi}}{{{b}}}+2k\\pi",
        [f"\\frac{{\\pi}}{{{b}}}+2n\\pi", f"\\frac{{\\pi}}{{{b}}}+2k\\pi,k\\in\\mathbb{{Z}}",
         f"\\frac{{(2{b}n+1)\\pi}}{{{b}}}".replace(f"2{b}n", f"{2 * b}n"),
         f"\\frac{{\\pi}}{{{b}}}-2n\\pi\\text{{ for integers }}n"],
        [f"\\frac{{\\pi}}{{{b}}}+k\\pi", f"\\frac{{\\pi}}{{{b + 1}}}+2k\\pi", f"\\frac{{\\pi}}{{{b}}}", "2k\\pi",
         f"\\frac{{\\pi}}{{{b}}}+2k"],
    )  # fmt: skip


def whole_families(draw):
    b = draw.randint(2, 9)
    return (
        f"{b}k\\pi, k\\in\\mathbb{{Z}}",
        [f"{b}k\\pi", f"{b}n\\pi, n\\in\\mathbb{{Z}}", f"{b}n\\pi", f"{b}\\pi k"],
        [f"{b + 1}k\\pi", "k\\pi, k\\in\\mathbb{Z}", f"{b}\\pi", f"{b}k\\pi, k\\in\\mathbb{{N}}", f"{b}k",
         f"{b}k\\pi+1"],
    )  # fmt: skip


def pieces(draw):
    a, b = draw.randint(1, 9), draw.randint(2, 9)
    return (
        f"\\begin{{cases}}x+{a}&x>{b}\\\\{b}x&x\\leq {b}\\end{{cases}}",
        [f"\\begin{{cases}}{b}x&x\\leq {b}\\\\x+{a}&x>{b}\\end{{cases}}",
         f"\\begin{{cases}}{a}+x,&\\text{{if }}x>{b}\\\\{b}x,&\\text{{if }}x\\leq {b}\\end{{cases}}",
         f"f(x)=\\begin{{cases}}x+{a} & x>{b}\\\\ {b}x & {b}\\geq x\\end{{cases}}"],
        [f"\\begin{{cases}}{b}x&x>{b}\\\\x+{a}&x\\leq {b}\\end{{cases}}",
         f"\\begin{{cases}}x+{a}&x>{b + 1}\\\\{b}x&x\\leq {b + 1}\\end{{cases}}", f"x+{a}",
         f"\\begin{{cases}}x+{a}&x\\geq {b}\\\\{b}x&x<{b}\\end{{cases}}",
         f"\\begin{{cases}}x+{a + 1}&x>{b}\\\\{b}x&x\\leq {b}\\end{{cases}}"],
    )  # fmt: skip


def set_differences(draw):
    a, b = sorted(draw.sample(range(1, 30), 2))
    return (
        f"[0,{b + 5}]\\setminus\\{{{a}\\}}",
        [f"[0,{b + 5}] \\setminus \\{{ {a} \\}}", f"[0,{b + 5}]\\backslash\\{{{a}\\}}"],
        [f"[0,{b + 5}]\\setminus\\{{{b}\\}}", f"[0,{b + 5}]", f"\\{{{a}\\}}\\setminus[0,{b + 5}]",
         f"[0,{b + 5}]\\cup\\{{{a}\\}}", f"[0,{b + 6}]\\setminus\\{{{a}\\}}"],
    )  # fmt: skip


def choices(draw):
    a, b = draw.sample("ABCDE", 2)
    return (
        f"\\text{{({a})}}",
        [a, f"({a})", f"\\text{{Option {a}}}", f"\\textbf{{({a})}}", f"\\text{{Choice {a}}}", f"\\text{{({a}) }}17"],
        [b, f"({b})", f"\\text{{{a} or {b}}}", f"{a},{b}", f"\\text{{not {a}}}", f"{a}{b}", f"\\text{{Option {b}}}",
         f"{a}\\text{{ and }}{b}"],
    )  # fmt: skip


def words(draw):
    a, b = draw.sample(["even", "odd", "yes", "no", "Monday", "Friday", "open", "parallel", "ellipse"], 2)
    return (
        f"\\text{{{a}}}",
        [a, f"\\text{{{a.upper()}}}", f"\\mathrm{{{a}}}", f"\\text{{{a}}}."],
        [b, f"\\text{{not {a}}}", f"\\text{{{a} or {b}}}", f"{a} {b}", "3", f"\\text{{{a}s}}x"],
    )  # fmt: skip


def empty_sets(draw):
    n = draw.randint(1, 9)
    return (
        "\\emptyset",
        ["\\varnothing", "\\{\\}", "\\text{no solution}", "∅"],
        ["0", f"\\{{{n}\\}}", "\\{0\\}", "\\infty", f"x={n}", "\\{\\emptyset\\}"],
    )  # fmt: skip


KINDS = (
    intervals, unions, half_lines, punctured_lines, lists, long_numbers, sets, plus_minus, points, vectors,
    matrices, point_lists, systems, ratios, long_ratios, times_of_day, clocks, congruences, families,
    whole_families, pieces, set_differences, choices, words, empty_sets,
)  # fmt: skip
