"""Multiple objects: 13 clips of several objects with different motions."""

# ruff: noqa: E501 - a prompt is one line, as it is in the manifest

from wan_ddp.references.clip import Clip, Mover, Stage
from wan_ddp.references.paths import (
    bounce,
    circle,
    figure_eight,
    flutter,
    line,
    pulse,
    rock,
    spin,
    spiral,
    swing,
    through,
    throw,
    upright,
    wave,
)

CATEGORY = "multiple_objects"
RED, BLUE, GOLD, GREEN, VIOLET, TEAL, ORANGE = (
    "#d9482b", "#2f6fb5", "#e8b23a", "#4f9a5a", "#8a58a8", "#2f8f8f", "#e67e33",
)  # fmt: skip

CLIPS = (
    Clip(
        CATEGORY,
        "two_balls_cross",
        Stage(
            "parquet",
            (
                Mover("ball", line((-0.95, 0.15), (0.95, 0.15), turns=3), 0.3, RED),
                Mover("football", line((0.75, 0.19), (-0.75, 0.19), turns=-3), 0.24),
            ),
        ),
        prompts=(
            "Two skaters on a frozen lake glide towards each other from opposite sides, pass one another in the middle and leave on the other side.",
            "Two trams, one red and one white, approach from left and right on parallel tracks, cross in front of a cathedral and drive on.",
            "一黑一白两只山羊在草坡上相向而行，在画面中央擦肩而过，各自走向另一侧。",
            "Two hedgehogs waddle across an autumn path from opposite sides and pass each other in the centre of the frame.",
            "两盏河灯在夜晚的水面上相向漂来，在画面中央交错，再各自漂远。",
        ),
    ),
    Clip(
        CATEGORY,
        "行星环绕",
        Stage(
            "space",
            (
                Mover("ball", spin((0, 0), 0.5), 0.24, ORANGE),
                Mover("planet", circle((0, 0), 0.33, 1.5, squash=0.4, depth=0.25), 0.17, TEAL),
                Mover("football", circle((0, 0), 0.62, 0.8, start=0.4, squash=0.4, depth=0.3), 0.12),
            ),
        ),
        prompts=(
            "璀璨的星空中，一颗燃烧的恒星居中自转，一大一小两颗行星沿着不同的椭圆轨道环绕它运行，时而在前，时而在后。",
            "A glowing lantern hangs in a dark room while two moths circle it at different speeds, passing in front of it and behind it.",
            "Two fairies made of light fly around an old oak stump on tilted rings, one quickly and close, the other slowly and far out.",
            "A glass sphere on a laboratory bench turns slowly as two small metal balls revolve around it on orbits of different size.",
            "海底一株发光的珊瑚静静旋转，两条小鱼以不同的速度绕着它游动，近处的快，远处的慢。",
        ),
    ),
    Clip(
        CATEGORY,
        "balloons_rise_leaf_falls",
        Stage(
            "sky",
            (
                Mover("balloon", wave((-0.5, 0.7), (-0.42, -0.7), 0.02, 2, cycles=2), 0.26, RED),
                Mover("balloon", wave((0.02, 0.95), (0.1, -0.45), 0.02, 2, cycles=2), 0.22, BLUE),
                Mover("leaf", flutter((0.48, -0.62), (0.48, 0.62), 0.12, 2.5), 0.18, ORANGE),
            ),
        ),
        prompts=(
            "Two paper lanterns float upwards into a violet evening sky while a feather sways down beside them from top to bottom.",
            "In a clear sea two jellyfish rise slowly towards the light as a shell sinks on the right, rocking from side to side.",
            "秋日天空下，两个热气球缓缓升起，右侧一片枫叶左右摇摆着飘落。",
            "Two soap bubbles drift up in a sunny garden while an apple-blossom petal flutters down to the right of them.",
            "两盏孔明灯并排升上夜空，右侧一片雪花摇摇晃晃地落下。",
        ),
    ),
    Clip(
        CATEGORY,
        "齿轮联动",
        Stage(
            "walnut",
            (
                Mover("gear", spin((-0.31, 0.02), 2), 0.46, GOLD),
                Mover("gear", spin((0.11, -0.09), -2.5), 0.4, TEAL),
                Mover("gear", spin((0.44, 0.14), 3), 0.34, ORANGE),
            ),
        ),
        prompts=(
            "古老钟楼内部，三个黄铜齿轮相邻转动，左右两个顺时针，中间一个逆时针，光线从窗缝射入。",
            "Three millstones of different sizes turn side by side on a workbench, the outer two clockwise and the middle one the other way.",
            "Three large daisies spin in place next to each other like wheels, neighbours turning in opposite directions, seen from above.",
            "Three vinyl records rotate on a long table, the one in the centre against the direction of the others, warm lamp light.",
            "三把彩色油纸伞撑开平放，相邻旋转，方向交替，俯拍镜头，地面是青石板。",
        ),
    ),
    Clip(
        CATEGORY,
        "birds_and_airship",
        Stage(
            "dusk",
            (
                Mover("bird", wave((-0.95, -0.22), (0.95, -0.3), 0.05, 2, cycles=14), 0.2, GOLD),
                Mover("bird", wave((-1.25, 0.0), (0.65, -0.08), 0.05, 2.5, cycles=15), 0.17, TEAL),
                Mover("air_balloon", upright(line((0.6, 0.22), (-0.5, 0.14))), 0.34, RED),
            ),
        ),
        prompts=(
            "Two seagulls fly across a stormy sky from left to right in gentle waves while a sailing ship below drifts slowly to the left.",
            "Two dragons with bronze wings flap from left to right past a mountain, and a cloud castle floats the opposite way beneath them.",
            "晚霞中，两只大雁拍打着翅膀从左向右飞去，下方一只孔明灯缓缓向左飘移。",
            "Two manta rays beat their fins as they glide to the right through blue water while a large turtle moves slowly to the left below.",
            "两只蝙蝠状的风筝起伏着从左飞向右，下方一朵云缓缓向左移动。",
        ),
    ),
    Clip(
        CATEGORY,
        "三球弹跳",
        Stage(
            "studio",
            (
                Mover("ball", bounce((-0.55, 0.2), (-0.55, 0.2), 0.55, 5, turns=0.3), 0.2, RED),
                Mover("football", bounce((0.0, 0.2), (0.0, 0.2), 0.42, 6, turns=-0.3), 0.2),
                Mover("ball", bounce((0.55, 0.2), (0.55, 0.2), 0.6, 4, turns=0.2), 0.2, BLUE),
            ),
        ),
        prompts=(
            "三只小青蛙并排在荷叶上原地蹦跳，节奏各不相同，跳得一次比一次低。",
            "Three children in bright wellingtons jump up and down side by side in a puddle, each in a rhythm of their own.",
            "Three marshmallows bounce on a drum skin next to one another, each jump lower than the last and none of them in step.",
            "Three robots on springs hop in place on a factory floor at different speeds, slowly losing height.",
            "三颗彩色果冻在餐桌上并排弹跳，高度逐渐降低，节拍错落有致。",
        ),
    ),
    Clip(
        CATEGORY,
        "fish_swim_apart",
        Stage(
            "pond",
            (
                Mover("fish", wave((-0.05, -0.02), (0.95, -0.3), 0.03, 2, cycles=10, banking=0.6), 0.3, ORANGE),
                Mover("fish", upright(wave((0.05, 0.05), (-0.95, 0.28), 0.03, 2, cycles=10), flipped=True), 0.26, RED),
                Mover("duck", wave((-0.6, -0.3), (-0.35, -0.26), 0.015, 3), 0.2, GOLD),
            ),
        ),
        prompts=(
            "Two otters in a river part in the middle of the picture, one swimming off to the upper right and one to the lower left, while a log drifts slowly.",
            "清澈的溪水里，两条锦鲤从中间分开，一条游向右上方，一条游向左下方，旁边一片浮叶轻轻漂动。",
            "Two racing yachts separate on a blue bay, one heading right and the other left, as a small buoy bobs on its place.",
            "Two foxes who met on a snowfield part again, one trotting away to the right and one to the left, while a crow hops slowly nearby.",
            "两只小天鹅在湖心分别，一只向右、一只向左游去，旁边的睡莲几乎不动。",
        ),
    ),
    Clip(
        CATEGORY,
        "汽车与巴士超车",
        Stage(
            "park",
            (
                Mover("bus", upright(line((-0.55, 0.12), (0.35, 0.12), cycles=4)), 0.5, GOLD),
                Mover("car", upright(line((-1.1, 0.225), (1.15, 0.225), cycles=10)), 0.36, BLUE),
            ),
        ),
        prompts=(
            "海滨公路上，一辆红色跑车从左侧快速驶来，超过一辆慢行的旅行房车，向右驶离画面。",
            "On a savannah a cheetah sprints past a slowly walking elephant, both going from left to right.",
            "A speedboat overtakes a large cargo ship on a calm river, both moving to the right, the boat much faster.",
            "A bobsleigh shoots past a horse-drawn sleigh on a snowy track, both heading to the right.",
            "草原上，一匹白马从左侧飞奔而来，超过缓慢行走的骆驼，奔向画面右侧。",
        ),
    ),
    Clip(
        CATEGORY,
        "pendulums_out_of_step",
        Stage(
            "hall",
            (
                Mover("bell", swing((-0.5, -0.5), 0.55, 16, 4), 0.22, GOLD, tether=(-0.5, -0.5)),
                Mover("ball", swing((0.0, -0.5), 0.45, -18, 5), 0.2, RED, tether=(0.0, -0.5)),
                Mover("apple", swing((0.5, -0.5), 0.62, 14, 3), 0.2, GREEN, tether=(0.5, -0.5)),
            ),
        ),
        prompts=(
            "Three glass lamps hang from the ceiling of a café and swing from side to side, each at a rhythm of its own.",
            "Three acrobats on trapezes swing side by side beneath a circus tent, out of step with one another.",
            "Three pumpkins hang on ropes from a barn beam and swing to and fro with different speeds in candlelight.",
            "屋檐下悬挂着三只风铃，在微风中左右摆动，节奏快慢各异，背景是青瓦白墙。",
            "三盏宫灯悬在长廊下，各自以不同的快慢左右摇摆，中间那盏最快。",
        ),
    ),
    Clip(
        CATEGORY,
        "落叶与蝴蝶",
        Stage(
            "meadow",
            (
                Mover("butterfly", figure_eight((0.0, 0.0), 0.5, 0.18, 1, cycles=12), 0.24, VIOLET),
                Mover("leaf", flutter((-0.55, -0.62), (-0.4, 0.62), 0.14, 2), 0.2, ORANGE),
                Mover("leaf", flutter((0.6, -0.75), (0.45, 0.45), 0.1, 2.5), 0.17, RED),
            ),
        ),
        prompts=(
            "一只蜻蜓在荷塘上方沿八字形盘旋，两侧的荷花瓣左右摇摆着缓缓飘落。",
            "A bee flies a figure of eight over a picnic blanket while two petals rock down on either side of it.",
            "A tiny glowing sprite draws a lying eight in the air of a dark wood as two feathers float down to its left and right.",
            "A swallow loops in a figure of eight in front of a snowy hedge, and two large snowflakes sway down beside it.",
            "一只翠鸟在溪流上空飞出横八字，两根羽毛在它左右两侧缓缓飘落。",
        ),
    ),
    Clip(
        CATEGORY,
        "rockets_and_saucer",
        Stage(
            "space",
            (
                Mover("rocket", throw((-0.9, 0.45), (0.9, 0.35), 0.6, facing=True), 0.3, RED),
                Mover("saucer", wave((0.85, -0.05), (-0.85, 0.1), 0.06, 3, cycles=6), 0.26, TEAL),
                Mover("star", pulse((0.1, -0.32), (0.7, 1.2), 4), 0.12, GOLD),
            ),
        ),
        prompts=(
            "A dolphin leaps in a high arc from left to right, a motorboat rocks across to the left below it and a lighthouse lamp pulses in the background.",
            "A flaming arrow flies in an arc to the right over a castle, a witch on a broom wobbles past to the left, and the moon grows bright and dim.",
            "一条锦鲤从左向右高高跃起划出弧线，一只小船摇晃着向左划去，远处的灯塔忽明忽暗。",
            "A paper dart arcs through a classroom from left to right while a toy helicopter bobs to the left and a lamp blinks above.",
            "一枚烟花拖着光尾向右划出弧线，一叶小舟起伏着漂向左方，天上的星忽明忽暗。",
        ),
    ),
    Clip(
        CATEGORY,
        "甲虫与瓢虫",
        Stage(
            "sand",
            (
                Mover(
                    "beetle",
                    through(((-0.75, 0.3), (-0.2, -0.25), (0.2, 0.3), (0.75, -0.2)), cycles=16, facing=True),
                    0.22,
                    RED,
                ),
                Mover("beetle", circle((0.1, 0.0), 0.36, -1, start=0.6, facing=True, cycles=16), 0.17, TEAL),
                Mover("bottle", rock((-0.6, -0.22), 8, 2), 0.26, GREEN),
            ),
        ),
        prompts=(
            "俯拍的沙滩上，一只螃蟹走着之字形路线穿过画面，另一只小螃蟹逆时针绕圈，旁边的贝壳轻轻晃动。",
            "Seen from above, a robot vacuum zigzags over a carpet while a toy car drives in circles and a vase on the left wobbles.",
            "From a bird's eye view a rally car takes a zigzag track through the desert, a second car circles, and a tent flaps at the side.",
            "A kitten runs a zigzag path across a rug, a puppy chases in a circle around the middle and a ball of wool rocks in place; top-down view.",
            "从高空俯瞰雪原，一辆雪地摩托沿折线前进，另一辆绕着圈行驶，一旁的旗帜左右摇摆。",
        ),
    ),
    Clip(
        CATEGORY,
        "top_view_tabletop",
        Stage(
            "oak",
            (
                Mover("coin", spiral((-0.3, 0.0), (0.4, 0.05), 3, spin=4), 0.16, GOLD),
                Mover("die", line((0.85, -0.4), (0.25, 0.25), turns=-2.5), 0.18, RED),
                Mover("windmill", spin((0.55, -0.22), 3), 0.26, BLUE),
            ),
        ),
        prompts=(
            "On a stone table a marble runs in a shrinking spiral on the left, a dice tumbles in from the upper right, and a pinwheel turns in the corner.",
            "An ice rink from above: one skater spirals in to a point, another slides in from the upper right while spinning, a third pirouettes on the spot.",
            "俯视餐桌，一颗核桃螺旋着滚向中心，一块方糖从右上角翻滚滑入，角落里的转盘匀速旋转。",
            "Seen from above, a duckling swims an inward spiral, a leaf is blown in turning from the upper right, and a water lily rotates in place.",
            "A top-down view of a dance floor: one dancer circles inwards, another twirls in diagonally from the upper right and a third spins on her place.",
        ),
    ),
)
