"""Single object: 33 clips of one object on a path."""

# ruff: noqa: E501 - a prompt is one line, as it is in the manifest

from wan_ddp.references.clip import Clip, Mover, Stage
from wan_ddp.references.paths import (
    Path,
    bounce,
    braking,
    circle,
    figure_eight,
    flip,
    flutter,
    gentle,
    line,
    pulse,
    rock,
    spin,
    spiral,
    spring,
    starting,
    swing,
    then,
    through,
    throw,
    toss,
    upright,
    wave,
)

CATEGORY = "single_object"
RED, BLUE, GOLD, GREEN, VIOLET, TEAL, ORANGE, WHITE = (
    "#d9482b", "#2f6fb5", "#e8b23a", "#4f9a5a", "#8a58a8", "#2f8f8f", "#e67e33", "#f4f7fb",
)  # fmt: skip


def _clip(
    name: str,
    backdrop: str,
    shape: str,
    path: Path,
    size: float,
    colour: str,
    prompts: tuple[str, ...],
    tether: tuple[float, float] | None = None,
) -> Clip:
    return Clip(CATEGORY, name, Stage(backdrop, (Mover(shape, path, size, colour, tether),)), prompts)


CLIPS = (
    _clip(
        "ball_rolls_right", "parquet", "ball", line((-0.7, 0.15), (0.7, 0.15), turns=1.5), 0.3, RED,
        (
            "A red fox trots across a snowy clearing from left to right, side view, static camera.",
            "A wooden barrel rolls along a cellar floor from the left side of the picture to the right, lantern light on the stone walls.",
            "一只圆滚滚的熊猫幼崽在草地上从左向右翻滚而过，固定机位。",
            "A yellow taxi drives along a rainy avenue from left to right, its reflection gliding with it on the wet asphalt.",
            "一辆老式蒸汽火车沿着秋日的铁轨从左向右缓缓驶过，侧面镜头。",
        ),
    ),
    _clip(
        "ball_bounces", "studio", "football", bounce((-0.68, 0.19), (0.68, 0.19), 0.55, 6, turns=2), 0.22, WHITE,
        (
            "A kangaroo hops through dry grass from left to right, every leap a little lower than the last.",
            "A rubber duck bounces across a bathroom floor from left to right, lower and lower.",
            "一只青蛙从左到右连续跳过池塘边的石头，跳跃的高度越来越低。",
            "A glowing orb of light bounces along a cave floor from the left to the right, slowly losing height.",
            "一只穿着红靴子的小兔子从左向右一蹦一跳穿过雪地，跳得一次比一次低。",
        ),
    ),
    _clip(
        "气球升空", "sky", "balloon", wave((0.0, 0.72), (0.1, -0.75), 0.04, 1.5, cycles=3), 0.36, RED,
        (
            "一盏橙色的孔明灯从画面底部缓缓升起，微微左右飘动，飞向深蓝的夜空。",
            "A jellyfish rises through clear blue water from the bottom of the frame to the top, drifting gently from side to side.",
            "A large soap bubble floats up from a garden lawn and leaves the picture at the top, shimmering in the sun.",
            "A white hot-air balloon climbs straight up over a misty valley, swaying slightly in the wind.",
            "A dandelion seed is carried upwards on warm air, wavering a little, in front of a green meadow.",
        ),
    ),
    _clip(
        "paper_plane_glides", "overcast", "paper_plane", wave((-0.95, -0.28), (0.95, 0.2), 0.07, 1.5, banking=0.8), 0.34, BLUE,
        (
            "A white gull glides down across a grey sky from the upper left to the lower right in soft waves.",
            "A hang-glider with orange wings sails from upper left to lower right above a rocky coast, gently rising and sinking.",
            "一只纸鹤从左上方沿着柔和的波浪线滑翔到右下方，背景是水墨山水。",
            "A manta ray glides through dim water from the upper left to the lower right with a slow undulating course.",
            "一架白色滑翔机从左上方平稳地滑向右下方，下方是金黄的稻田。",
        ),
    ),
    _clip(
        "落叶飘零", "overcast", "leaf", flutter((0.0, -0.62), (0.12, 0.62), 0.26, 2.5, tilt=0.14), 0.26, ORANGE,
        (
            "一根洁白的羽毛从空中左右摇摆着缓缓飘落，背景是古老的石墙。",
            "A pink cherry-blossom petal sways down from the top of the picture to the bottom, swinging from side to side.",
            "A love letter on thin paper flutters down in a stairwell, rocking left and right as it falls.",
            "A sunken gold coin drifts down through green sea water, swinging to and fro until it reaches the sand.",
            "一方红色丝绸手帕在舞台灯光下左右摆动，轻盈地落下。",
        ),
    ),
    _clip(
        "star_spins", "dusk", "star", spin((0.0, 0.0), 2), 0.6, GOLD,
        (
            "A large sunflower turns clockwise in the centre of the picture like a wheel, blue sky behind it.",
            "A stained-glass rose window rotates slowly in a dark church, coloured light in the air.",
            "画面中央一片巨大的六角雪花匀速顺时针旋转，背景是深蓝色的夜空。",
            "A starfish spins in place on a turquoise background, two full turns, seen from above.",
            "一面鎏金的转经轮在画面正中顺时针转动两圈，光影流转。",
        ),
    ),
    _clip(
        "硬币旋转", "walnut", "coin", flip((0.0, 0.0), 4), 0.5, GOLD,
        (
            "一枚古铜镜在黑色绒布前绕竖轴旋转，正反两面交替出现，光泽流动。",
            "A round silver medal turns about its upright axis again and again, showing front and back, dark studio background.",
            "A revolving door of polished glass spins around its vertical axis in an elegant hotel entrance.",
            "A ballerina in a music box twirls about her own axis in the centre of the picture, warm light.",
            "A playing card stands on its edge and whirls round its upright axis, the faces flashing by in turn.",
        ),
    ),
    _clip(
        "gear_turns_backwards", "walnut", "gear", spin((0.0, 0.0), -1.5), 0.7, TEAL,
        (
            "A huge wooden water wheel turns anticlockwise in front of an old mill, water dripping from its paddles.",
            "A Ferris wheel with golden lights rotates anticlockwise against the night sky.",
            "一只黑胶唱片在唱机上逆时针缓慢转动，俯拍特写，灯光温暖。",
            "A spiral galaxy turns slowly anticlockwise in the centre of the frame, stars all around.",
            "水车在溪边逆时针缓缓转动，木叶轮带起晶莹的水花。",
        ),
    ),
    _clip(
        "火箭发射", "dusk", "rocket", through(((0.0, 0.3), (0.0, 0.28), (0.0, -0.75)), cycles=20, facing=True), 0.5, RED,
        (
            "一条银色的鲸鱼从海面垂直跃出，直冲天空，水花四溅。",
            "A champagne cork shoots straight up out of the bottle and leaves the picture at the top, foam following it.",
            "A glass lift rises vertically along the facade of a tower, from the lower half of the frame out of its top.",
            "A firework shell climbs straight into the night sky with a trail of sparks.",
            "A superhero in a green cape takes off from the ground and flies straight up out of the frame.",
        ),
    ),
    _clip(
        "butterfly_figure_eight", "meadow", "butterfly", upright(figure_eight((0.0, 0.0), 0.52, 0.2, 1, cycles=14)), 0.32, VIOLET,
        (
            "A bumblebee flies a lying figure of eight above a bed of lavender.",
            "A tiny fairy with glowing wings traces a figure of eight over a forest pond at dusk.",
            "一只蜻蜓在荷花池上空沿八字形轨迹飞行，翅膀快速振动。",
            "A red toy drone flies a smooth figure of eight over a lawn, seen from above.",
            "夜色中，一只萤火虫拖着光带，在草丛上方画出横卧的八字。",
        ),
    ),
    _clip(
        "小鸟飞过", "sunset", "bird", wave((-0.95, -0.05), (0.95, -0.25), 0.06, 2, cycles=14), 0.34, GOLD,
        (
            "一只白鹤扇动翅膀，从左向右飞过金色的湿地，身体随振翅微微起伏。",
            "A small green dragon flaps across a mountain valley from left to right, rising and dipping with every beat.",
            "An owl flies silently through a snowy wood from left to right, wings beating slowly.",
            "A mechanical bird of brass and copper flutters from left to right past the windows of a clock tower.",
            "一只蝙蝠拍着翅膀从左向右掠过圆月，留下起伏的剪影。",
        ),
    ),
    _clip(
        "fish_swims_left", "pond", "fish", upright(wave((0.95, 0.1), (-0.95, -0.08), 0.07, 2.5, cycles=14), flipped=True), 0.4, ORANGE,
        (
            "A sea turtle swims from right to left through a coral reef on a gently waving course.",
            "A crocodile moves along a muddy river from right to left, its tail swinging from side to side.",
            "一条白色小龙在云海中从右向左蜿蜒游动，鳞片闪闪发光。",
            "A submarine with round portholes travels from right to left in deep blue water, rising and sinking slightly.",
            "一艘乌篷船在江南水巷里从右向左轻轻起伏着划过。",
        ),
    ),
    _clip(
        "回旋镖", "park", "boomerang",
        then(throw((-0.7, 0.2), (0.65, -0.05), 0.3, turns=4), throw((0.65, -0.05), (-0.7, 0.2), -0.06, turns=4), 0.5), 0.24, GOLD,
        (
            "一只猎鹰从左侧起飞，向右上方划出弧线，盘旋后又飞回左侧，背景是辽阔的草原。",
            "A frisbee flies out over a beach from the left, slows at the right, and comes spinning back.",
            "A swallow leaves its nest on the left, sweeps in an arc to the right and returns to where it began.",
            "A spinning shuriken made of light is thrown from the left, curves round at the right and flies back.",
            "一只发光的飞盘从左侧旋转着飞出，在右侧折返，又旋转着飞回左侧。",
        ),
    ),
    _clip(
        "saucer_hovers", "space", "saucer", circle((0.0, 0.0), 0.42, 1, start=0.5, squash=0.35, cycles=5, depth=0.3), 0.36, TEAL,
        (
            "A glowing jellyfish drifts round a wide flat ellipse in black water, larger when it is near and smaller at the back.",
            "A carousel horse travels once round a flat oval, growing as it comes to the front and shrinking as it goes to the rear.",
            "一艘小型飞船在星云前沿扁平的椭圆轨道飞行一周，近大远小。",
            "A model train engine drives once around an oval track, close to the viewer and then far away, on a tabletop landscape.",
            "一盏河灯在漆黑的水面上沿椭圆漂行一圈，由近到远，再由远到近。",
        ),
    ),
    _clip(
        "汽车驶过", "beach", "car", upright(line((-1.05, 0.17), (1.05, 0.17), cycles=9, ease=gentle)), 0.5, BLUE,
        (
            "一匹枣红马在海滩上从左向右奔跑，起步由慢到快，又渐渐放慢。",
            "A green steam locomotive passes from left to right along a coast, gathering speed and slowing down again.",
            "An ostrich runs from left to right over a dry plain, faster in the middle of its way, side view.",
            "A cyclist in a yellow jersey rides across the picture from left to right by the sea.",
            "一辆黄色三轮车沿着海边栈道从左骑到右，先加速后减速，固定镜头。",
        ),
    ),
    _clip(
        "boat_rocks", "sea", "boat", rock((0.0, 0.08), 14, 3), 0.62, RED,
        (
            "A wooden cradle rocks from side to side in a sunny nursery, three times, without leaving its place.",
            "A buoy with a small bell tilts left and right on grey waves in the middle of the frame.",
            "一只不倒翁娃娃在木桌中央左右摇摆，幅度均匀，背景是暖色灯光。",
            "A penguin stands on an ice floe and sways from one side to the other in place.",
            "海面上一只橡皮小黄鸭左右倾斜摇晃，停留在画面中央。",
        ),
    ),
    _clip(
        "风筝摇曳", "sky", "kite", wave((-0.45, 0.2), (0.4, -0.28), 0.1, 2.5, cycles=6), 0.42, VIOLET,
        (
            "一条彩色的布龙在蓝天中自左下向右上方蜿蜒攀升，尾巴随风摆动。",
            "A paraglider with a striped wing climbs from the lower left to the upper right, swinging up and down in the thermals.",
            "A cobra made of smoke rises from lower left to upper right in long waves, dark background.",
            "A seahorse swims from the lower left to the upper right of an aquarium, bobbing up and down on its way.",
            "A red scarf blown by the wind sails from the lower left to the upper right over the roofs of an old town.",
        ),
    ),
    _clip(
        "snowflake_drifts", "dusk", "snowflake", flutter((-0.3, -0.65), (0.35, 0.65), 0.1, 2, tilt=0.3), 0.3, WHITE,
        (
            "A tiny parachutist sinks from the upper left to the lower right, swinging beneath an orange canopy.",
            "A maple seed whirls down from the upper left to the lower right of an autumn wood.",
            "一朵蒲公英绒球从左上方飘向右下方，轻轻摇摆，背景是傍晚的原野。",
            "A small paper umbrella drifts down from upper left to lower right past the windows of a tall house.",
            "一片银杏叶从左上方打着旋儿飘向右下方，背景是古寺红墙。",
        ),
    ),
    _clip(
        "苹果落地", "studio", "apple",
        then(line((0.0, -0.7), (0.0, 0.19), ease=starting), bounce((0.0, 0.19), (0.28, 0.19), 0.25, 4, turns=0.25), 0.35), 0.24, RED,
        (
            "一颗松果从高处坠落到林间地面，弹跳几下后向右滚去。",
            "A tennis ball drops from above onto a clay court, bounces a few times and moves a little to the right.",
            "A meteorite the size of a melon falls from the top of the frame onto desert sand and bounces towards the right.",
            "A kitten jumps down from a shelf, lands on the carpet and takes a few small hops to the right.",
            "一只毛线球从桌沿落到地毯上，弹了几下，慢慢滚向右侧。",
        ),
    ),
    _clip(
        "balloon_approaches", "sky", "air_balloon", upright(line((0.42, -0.2), (-0.05, 0.05), scale=(0.25, 1.5), ease=gentle)), 0.56, RED,
        (
            "A grey elephant walks towards the viewer from the distance at the upper right until it fills the middle of the frame.",
            "A night train approaches from a far point at the right, its headlight growing until it is close in the centre.",
            "一只雪白的猫头鹰从远处右上方迎面飞来，越来越大，停在画面中央。",
            "A sailing ship comes nearer out of the fog at the upper right, growing larger and larger until it towers in the middle.",
            "一条金色巨龙从右上方的云端飞来，由小变大，最后占满画面中央。",
        ),
    ),
    _clip(
        "飞船远去", "space", "saucer", line((-0.1, 0.08), (0.5, -0.26), scale=(1.6, 0.2), cycles=5, ease=braking), 0.5, TEAL,
        (
            "一艘木帆船从画面中央驶向右上方的海平线，越来越小，最后成为一个小点。",
            "A knight on horseback rides away from the viewer towards a castle at the upper right, shrinking into the distance.",
            "A red hot-air balloon drifts away from the centre towards the upper right until it is only a dot.",
            "A whale swims away from us into the blue, growing smaller and smaller towards the upper right.",
            "一列高铁从画面中央向右上方的远山驶去，逐渐变小消失。",
        ),
    ),
    _clip(
        "helicopter_climbs", "overcast", "helicopter", upright(line((-0.6, 0.28), (0.6, -0.3), cycles=30, ease=gentle)), 0.44, RED,
        (
            "A cable car with green cabins rides up from the lower left to the upper right in front of a mountain.",
            "A bumblebee flies steadily from a flower at the lower left up to a branch at the upper right.",
            "一只孔雀从左下方的草地飞向右上方的古松，尾羽舒展。",
            "A squirrel runs up a slanting branch from the lower left to the upper right.",
            "一位武侠剑客施展轻功，从左下方的竹林斜飞向右上方的屋顶。",
        ),
    ),
    _clip(
        "风车转动", "park", "windmill", spin((0.0, -0.05), 3), 0.72, BLUE,
        (
            "一台巨大的荷兰风车在郁金香花田中快速顺时针转动，蓝天白云。",
            "A white wind turbine turns clockwise on a green ridge, three full turns, static camera.",
            "The propeller of a vintage aeroplane turns clockwise in close-up on a grass airfield.",
            "A daisy spins clockwise like a pinwheel in front of a meadow, petals catching the light.",
            "儿童手中的彩色纸风车迎风顺时针飞转，背景是油菜花田。",
        ),
        tether=(0.0, 0.46),
    ),
    _clip(
        "duck_paddles_circle", "pond", "duck", upright(circle((0.0, 0.02), 0.4, -1, start=0.0, squash=0.7)), 0.28, GOLD,
        (
            "A swan swims one round on a still lake, anticlockwise, seen from above.",
            "A toy sailing boat makes an anticlockwise round on a park fountain.",
            "一只水獭仰面漂浮，在河湾里逆时针绕了一圈，俯拍镜头。",
            "A polar bear walks anticlockwise once around a hole in the ice, overhead view.",
            "俯拍湖面，一片荷叶载着小青蛙逆时针漂了一整圈。",
        ),
    ),
    _clip(
        "轮胎滚坡", "sunset", "tyre",
        through(((-0.75, -0.2), (-0.1, 0.12), (0.78, 0.17)), turns=2.2), 0.28, GOLD,
        (
            "一只雪球从左侧的山坡滚下，到坡底后继续向右滚去，冬日阳光明媚。",
            "A cheese wheel rolls down a grassy slope on the left and runs on across the flat ground to the right.",
            "A skier comes down a hill from the upper left and glides on over level snow to the right.",
            "A mine cart descends from the upper left and rolls on along level rails towards the right of a cavern.",
            "一个小男孩坐着雪橇从左侧坡上滑下，在平地上继续向右滑行。",
        ),
    ),
    _clip(
        "umbrella_whirls_away", "meadow", "umbrella", spiral((0.0, 0.0), (0.02, 0.44), 2, spin=3), 0.26, RED,
        (
            "A spinning top leaves the centre of a wooden table in a widening spiral, seen from above.",
            "A water lily is swept from the middle of a pond in growing circles, turning as it goes; overhead view.",
            "俯视舞台，一位裙摆飞扬的舞者旋转着，由中心沿螺旋线向外移动。",
            "A curling stone of red granite spirals outwards from the centre of the ice, rotating, top view.",
            "一盏莲花灯从池塘中心旋转着向外漂出，轨迹是渐渐变大的螺旋，俯视镜头。",
        ),
    ),
    _clip(
        "瓢虫折线", "snow", "beetle",
        through(((-0.75, -0.25), (-0.3, 0.28), (0.1, -0.25), (0.45, 0.28), (0.75, -0.1)), cycles=20, facing=True), 0.24, RED,
        (
            "俯拍雪原，一只雪橇犬沿着之字形的路线从左侧跑到右侧，留下一串脚印。",
            "A rally car follows a sharp zigzag track across salt flats from left to right, aerial view.",
            "A mouse in a hurry runs in zigzags across a kitchen floor from left to right, seen from above.",
            "A slalom skier cuts from side to side across a white slope from left to right, overhead shot.",
            "航拍沙漠，一支骆驼队的领头驼以折线穿过沙丘，从左走到右。",
        ),
    ),
    _clip(
        "ring_tossed", "gym", "ring", throw((-0.78, 0.25), (0.75, 0.22), 0.62, turns=2), 0.26, RED,
        (
            "A dolphin leaps out of the sea in a high arc from left to right and dives in again.",
            "A flaming cannonball flies in a high arc over a castle wall from left to right.",
            "一位杂技演员从左侧的高台翻着跟头腾空而起，划出高高的弧线落到右侧。",
            "A pancake thrown from a pan on the left sails in a high arch, turning, to a plate on the right.",
            "一支火箭筒烟花从左侧射出，划出高高的抛物线落向右侧的湖面。",
        ),
    ),
    _clip(
        "灯笼摆动", "hall", "bell", swing((0.0, -0.52), 0.62, 32, 3), 0.3, RED,
        (
            "古寺屋檐下，一盏红灯笼挂在长绳上，像钟摆一样左右摆动，暮色沉沉。",
            "A child on a rope swing beneath an old oak tree swings from side to side like a pendulum.",
            "一位穿红裙的少女坐在秋千上，随长绳左右荡来荡去，花瓣飘落。",
            "A crystal chandelier sways from side to side in a ballroom on a rolling ship.",
            "A glowing potion bottle on a chain swings like a pendulum in an alchemist's study.",
        ),
        tether=(0.0, -0.52),
    ),
    _clip(
        "yo_yo_bobs", "studio", "coin", spring((0.0, 0.0), 0.3, 4, damping=1.2), 0.26, VIOLET,
        (
            "A spider hangs on its thread in front of a window and bobs up and down, less and less.",
            "A bungee jumper hangs under a bridge and bounces up and down on the cord with fading swings.",
            "一只木偶挂在弹簧绳上，在戏台中央上下弹动，幅度渐渐变小。",
            "A climbing astronaut on a tether bobs up and down in front of a space station until the motion dies away.",
            "一只小熊玩偶挂在弹簧下面上下弹跳，幅度越来越小，窗外下着雨。",
        ),
        tether=(0.0, -0.52),
    ),
    _clip(
        "滑板冲刺", "gym", "skateboard", upright(line((0.85, 0.22), (-0.75, 0.22), cycles=-10, ease=braking)), 0.4, TEAL,
        (
            "一只柯基犬从右侧冲进画面，沿着木地板向左滑行，速度渐渐慢下来。",
            "A bobsleigh shoots in from the right and slows down to the left on an icy track.",
            "A curling stone slides over the ice from right to left, losing speed until it all but stops.",
            "A penguin on its belly slides from the right to the left across wet ice, slower and slower.",
            "一辆雪橇从右侧滑入，在冰湖上向左滑行并慢慢停下。",
        ),
    ),
    _clip(
        "bottle_flips", "parquet", "bottle", toss((0.0, 0.1), 0.42, 2), 0.4, GREEN,
        (
            "A gymnast in a blue leotard leaps straight up, turns head over heels and lands on the same spot.",
            "A pancake is tossed straight up from a pan, flips over and falls back, kitchen in the background.",
            "一只小猫在榻榻米上垂直跳起，空中翻了个跟头，又落回原处。",
            "A juggler's torch is thrown up, tumbles end over end and comes down again in front of a night crowd.",
            "一位跳水运动员从跳板上笔直跃起，空中翻转两周后落回原处。",
        ),
    ),
    _clip(
        "heartbeat_pulse", "dusk", "apple", pulse((0.0, 0.0), (0.7, 1.25), 4), 0.5, RED,
        (
            "A paper lantern in the shape of a heart swells and shrinks in a slow rhythm in a dark room.",
            "A pufferfish in the middle of an aquarium inflates and deflates four times without moving from its place.",
            "一朵发光的莲花在夜色中有节奏地绽放又收拢，始终位于画面中央。",
            "A glowing crystal on a stone altar grows and shrinks like a beating heart.",
            "一盏圆形纸灯在黑暗中忽大忽小，像呼吸一样有节奏地起伏。",
        ),
    ),
)  # fmt: skip
