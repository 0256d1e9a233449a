"""Camera motion: 14 clips of a still world seen by a moving camera."""

# ruff: noqa: E501 - a prompt is one line, as it is in the manifest

from wan_ddp.references.clip import Clip, Shot
from wan_ddp.references.moves import View, between, dolly_zoom, orbit

CATEGORY = "camera_motion"

CLIPS = (
    Clip(
        CATEGORY,
        "镜头仰角旋转",
        Shot("plaza", orbit(16, azimuths=(-14, 14), elevations=(4, 56), target_height=1.8)),
        prompts=(
            "An ancient stone lighthouse on a rocky islet, waves breaking around it. The camera keeps the lighthouse in the centre and rises in an arc from eye level to high above, turning slightly as it looks down.",
            "清晨薄雾中的江南古镇石桥，河面倒映着白墙黛瓦。镜头始终对准石桥，从平视沿弧线升高到俯视，同时缓缓旋转。",
            "A bronze statue of a horse in the middle of a snowy town square. The camera swings up over it on an arc, from a level view to a steep view from above, while circling a little to the right.",
            "A farmer's red tractor parked in a golden wheat field at sunset. The camera climbs in an arc around it, beginning at ground level and ending in a high view looking down on the field.",
            "夜晚霓虹灯下的圆形喷泉广场，水柱闪着彩光。镜头以喷泉为中心逐渐抬高仰角并轻微环绕，最后从高处俯拍整个广场。",
        ),
    ),
    Clip(
        CATEGORY,
        "pan_left",
        Shot("dusk", between(View(yaw=30), View(yaw=-30))),
        prompts=(
            "A wide alpine valley with a turquoise lake and snow-capped peaks under a clear sky. The camera stands still and pans smoothly to the left across the whole valley.",
            "A busy harbour at blue hour, fishing boats rocking at their moorings and lamps coming on. The camera pans slowly from right to left along the quay.",
            "敦煌戈壁上连绵的沙丘与远处的石窟，夕阳将沙丘染成金色。镜头固定机位，由右向左匀速摇过整片沙漠。",
            "The reading room of an old library, long oak tables, green lamps and walls of leather-bound books. The camera pans left in one steady sweep past the shelves.",
            "苗寨的吊脚楼层层叠叠，清晨炊烟升起。镜头立在原地，平稳地向左摇过整座山寨。",
        ),
    ),
    Clip(
        CATEGORY,
        "镜头右摇",
        Shot("desert", between(View(yaw=-30), View(yaw=30))),
        prompts=(
            "黄昏时分的重庆山城，层层叠叠的楼房亮起灯火，江面上游船驶过。镜头原地由左向右平稳摇动，扫过整座城市。",
            "A lavender field in Provence in full bloom with a stone farmhouse in the distance. The camera pans steadily to the right along the purple rows.",
            "A vast ice sheet with blue crevasses and a small red research station. From one spot the camera pans right across the frozen horizon.",
            "一间洒满阳光的画室，画架、石膏像和颜料散落各处。镜头从左侧的窗户缓缓向右摇到另一侧的木门。",
            "The terraces of an empty Roman amphitheatre in warm morning light. The camera stays in place and turns slowly to the right, taking in tier after tier.",
        ),
    ),
    Clip(
        CATEGORY,
        "tilt_up",
        Shot("plaza", between(View(z=-13, pitch=-24), View(z=-13, pitch=26))),
        prompts=(
            "A giant redwood in a quiet forest. The camera begins at the mossy roots and tilts up along the trunk until it looks into the bright canopy.",
            "A Gothic cathedral after rain. The camera tilts slowly upwards from the wet cobblestones past the carved portal to the spires against the sky.",
            "上海陆家嘴的摩天大楼，街道上车水马龙。镜头从路面开始缓缓上仰，沿着玻璃幕墙一直摇到云端的楼顶。",
            "A waterfall in a tropical gorge. The camera starts on the foaming pool at its foot and tilts up along the falling water to the cliff edge.",
            "A rocket on its launch pad at dawn wrapped in vapour. The camera tilts up steadily from the engines to the tip of the nose cone.",
        ),
    ),
    Clip(
        CATEGORY,
        "镜头下摇",
        Shot("dusk", between(View(z=-14, pitch=27), View(z=-14, pitch=-23))),
        prompts=(
            "秋日高远的蓝天下，一棵巨大的银杏树金叶纷飞。镜头从树冠缓缓向下摇，最后落在铺满落叶的地面上。",
            "The painted dome of a baroque church. The camera tilts down from the frescoes past marble columns to rows of candlelit pews.",
            "Green northern lights above a wooden cabin in Lapland. Starting on the sky, the camera tilts slowly down to the cabin and the snow in front of it.",
            "雨后的竹林，阳光从竹梢间洒落。镜头由竹梢向下缓缓俯摇，直到看见林间湿润的青石小路。",
            "A canyon wall of red sandstone beneath a deep blue sky. The camera tilts downwards from the rim to the green river winding along the bottom.",
        ),
    ),
    Clip(
        CATEGORY,
        "zoom_in",
        Shot("plaza", between(View(focal=0.85), View(focal=2.8))),
        prompts=(
            "An old clock tower above the roofs of a medieval town in afternoon light. The camera does not move but zooms in smoothly until the tower fills the frame.",
            "A lone cyclist's tent glowing on a dark plain under the Milky Way. The lens zooms in slowly on the tent from a wide view.",
            "A street market seen from a balcony, stalls full of spices and fruit. The shot begins wide and zooms in steadily on a single stall of oranges.",
            "雪山脚下的一座红墙寺庙，经幡随风飘动。镜头机位不变，焦距由广角缓缓推近，直到寺门占满画面。",
            "秋日山谷对面的古长城烽火台，层林尽染。镜头不动，匀速变焦推近，直到烽火台充满画面。",
        ),
    ),
    Clip(
        CATEGORY,
        "镜头拉远",
        Shot("desert", between(View(focal=2.8), View(focal=0.85))),
        prompts=(
            "茫茫草原上的一座白色蒙古包，炊烟袅袅升起。画面从蒙古包的特写开始，镜头变焦拉远，渐渐露出辽阔的草原和羊群。",
            "A red door in a whitewashed wall on a Greek island. The lens zooms out smoothly from the door until the whole village above the sea is in view.",
            "A single lit window in a skyscraper at night. The shot zooms out slowly and steadily to show thousands of windows and the city around them.",
            "A lighthouse lamp in close view on a stormy day. The camera stays put and zooms out until the tower is tiny against the grey ocean.",
            "一朵盛开的荷花，花瓣上挂着露珠。镜头固定不动，焦距由近及远缓慢拉开，显露出整片荷塘和远处的凉亭。",
        ),
    ),
    Clip(
        CATEGORY,
        "orbit_clockwise",
        Shot("dusk", orbit(15, azimuths=(38, -38), elevations=(10, 10), target_height=1.8)),
        prompts=(
            "A samurai in black armour standing motionless in a field of tall grass. The camera circles him in a smooth arc at a constant distance, keeping him in the centre.",
            "A vintage sports car on a wet rooftop car park at night, reflecting neon signs. The camera orbits around the car to one side while it stays in the middle of the picture.",
            "A potter's kiln in a walled courtyard, smoke rising from its chimney. The camera travels round it on a wide circle and never lets it leave the centre of the frame.",
            "悬崖边的一棵孤松，云海在四周翻涌。镜头以孤松为圆心水平环绕拍摄，距离保持不变，背景缓缓流转。",
            "A carved marble fountain in an Italian garden with cypress trees. The camera moves around the fountain in a steady orbit, background trees sliding past behind it.",
        ),
    ),
    Clip(
        CATEGORY,
        "dolly_forward",
        Shot("plaza", between(View(z=-26, y=1.9), View(z=-8.5, y=1.9))),
        prompts=(
            "A narrow street in Lisbon with tiled facades and washing hung between the houses. The camera glides straight ahead down the street at walking pace.",
            "An avenue of cherry trees in blossom, petals drifting on the path. The camera moves steadily forward between the trunks.",
            "深秋的故宫红墙夹道，地面落满金黄的树叶。镜头沿着夹道平稳地向前推进，两侧红墙不断向后退去。",
            "The nave of an abandoned church overgrown with ivy, light falling through broken windows. The camera travels forward along the aisle towards the altar.",
            "A corridor of a spaceship with glowing panels on both sides. The camera floats forward in a straight line towards a round hatch at the end.",
        ),
    ),
    Clip(
        CATEGORY,
        "镜头后退",
        Shot("dusk", between(View(z=-8.5, y=1.9), View(z=-26, y=1.9))),
        prompts=(
            "清晨的古村小巷，青石板路湿漉漉的，尽头是一座牌坊。镜头从牌坊前开始匀速后退，两旁的老屋依次进入画面。",
            "A grand piano on the stage of an empty concert hall. The camera backs away slowly down the central aisle, rows of red seats coming into view on either side.",
            "A campfire in a clearing at night. The camera pulls straight back through the trees, trunks sliding into the frame from left and right.",
            "丛林深处的一座石雕佛像，藤蔓缠绕。镜头面对佛像缓缓向后移动，前景的树木与石阶逐渐显现。",
            "A bakery window full of bread on a rainy evening. The camera retreats steadily along the pavement, revealing more and more of the glistening street.",
        ),
    ),
    Clip(
        CATEGORY,
        "roll_clockwise",
        Shot("desert", between(View(roll=-35), View(roll=35))),
        prompts=(
            "A row of colourful beach huts on a pale shore. The camera looks straight ahead and rolls about its own axis, so that the horizon turns like a wheel.",
            "The interior of a grand train station with an arched glass roof. The camera rolls slowly and evenly around the line of sight, and the hall appears to rotate.",
            "A field of sunflowers under a summer sky. The view rotates smoothly around the centre of the picture, from tilted one way to tilted the other.",
            "夜色中的摩天轮和游乐园灯火。镜头朝向不变，沿视线轴缓缓滚转，整个画面像表盘一样旋转。",
            "海边的一座白色灯塔，乌云低垂。镜头绕光轴匀速滚转，地平线由一侧倾斜转到另一侧。",
        ),
    ),
    Clip(
        CATEGORY,
        "镜头横移",
        Shot("plaza", between(View(x=-7, z=-17), View(x=7, z=-17))),
        prompts=(
            "一排老式骑楼店铺，招牌林立，行人来往。镜头与街道平行，从左向右平稳横移，近处的柱子快速掠过，远处的楼房缓缓移动。",
            "A vineyard in Tuscany with a villa on the hill behind. The camera tracks sideways to the right past the vines, near rows sliding by faster than the far hills.",
            "A dim aquarium tunnel with schools of silver fish behind the glass. The camera trucks steadily from left to right along the tank.",
            "Standing stones on a moor at sunrise, long shadows on the heather. The camera slides to the right, the near stones passing in front of the distant ones.",
            "月光下的芦苇荡，水面泛着银光，远处有一座小木屋。镜头贴着芦苇由左至右横向移动，层次分明。",
        ),
    ),
    Clip(
        CATEGORY,
        "crane_up",
        Shot("desert", between(View(y=0.9, z=-17, pitch=6), View(y=10.5, z=-19, pitch=-14))),
        prompts=(
            "A medieval market square crowded with wooden stalls. The camera rises straight up like a crane shot from knee height to above the rooftops, tilting gently down.",
            "Rows of tea bushes on a terraced hillside in morning fog. The camera lifts vertically from between the leaves until the curved terraces spread out below.",
            "A wooden fort in a frontier town, dust in the air. The camera cranes upwards from the ground over the palisade and shows the yard behind it.",
            "海边渔村的晒鱼场，竹架一排接一排。镜头从贴近地面的高度垂直升起，越过竹架，最终俯瞰整个村庄与大海。",
            "A hedge maze in the garden of a country house. The camera ascends smoothly from a path between the hedges to a view over the whole maze.",
        ),
    ),
    Clip(
        CATEGORY,
        "希区柯克变焦",
        Shot("plaza", dolly_zoom(start=22, end=8.5, height=2.4)),
        prompts=(
            "深夜空旷的地铁站台，一盏孤灯照着长椅。镜头一边推进一边变焦拉开，长椅大小不变，背景却不断向后延伸，产生眩晕感。",
            "A detective in a trench coat in a long hotel corridor. A dolly zoom: the camera moves in while the lens widens, so that he keeps his size and the corridor stretches away behind him.",
            "A lone telephone box on a moor at dusk. The camera pushes forward as it zooms out; the box stays the same size while the hills behind it recede.",
            "An astronaut on a red planet before a row of cliffs. Dolly zoom effect: the figure remains constant in the frame as the landscape behind changes its scale dramatically.",
            "A wedding cake on a table in a ballroom with chandeliers. The camera dollies in and zooms out at once, and the room seems to grow deeper around the cake.",
        ),
    ),
)
